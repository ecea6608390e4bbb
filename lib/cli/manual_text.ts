/**
 * What the manual page says besides its options, with the marks of roff.ts.
 *
 * @module
 */

/** SYNOPSIS, a line each. */
export const SYNOPSIS: readonly string[] = [
  "`fairlead` [<options>] [<user>@]<host> [<command>]",
  "`fairlead with` [<options>] [<user>@]<host> `--` <command> [<argument> ...]",
  "`fairlead up` [<options>] [<name> ...]",
  "`fairlead down` [<options>] [<name> ...]",
  "`fairlead status` [`--watch`] [<name> ...]",
  "`fairlead logs` [`-f`] [`-n` <lines>] [<name> ...]",
  "`fairlead reload` [`--config` <file>]",
  "`fairlead restart` [<name> ...]",
  "`fairlead add` <name> `-L`|`-R`|`-D` <forward>",
  "`fairlead remove` <name> <forward>",
  "`fairlead check` [`--connect`] [<name> ...]",
  "`fairlead init` [<file>]",
  "`fairlead import` <host> ... | `--` `ssh` <argument> ...",
  "`fairlead schema`",
  "`fairlead demo` [`--keep`]",
  "`fairlead completions` `bash`|`zsh`|`fish`|`powershell`",
  "`fairlead man`",
];

/** DESCRIPTION. */
export const DESCRIPTION = `
\`fairlead\` carries TCP connections through SSH. Its forwards are those of ssh(1),
and ssh's letters mean what they mean there; they may stand before or after the
host. Where a <command> is given, the server runs it while the forwards are up,
and its status is fairlead's; there is no shell and no terminal.

A word is a command of fairlead's own only as the very first one: \`fairlead -- demo\`
and \`fairlead me@demo\` lead to a host of that name. A destination is
[<user>@]<host> or \`ssh://\`[<user>@]<host>[:<port>].

A host key is always checked. Listeners are on loopback unless a bind address says
otherwise. From the server to the destination the bytes travel as the application
sends them, and any user of this machine can connect to a listener on loopback; a
Unix socket keeps them out.

A lost link ends nothing but \`-W\` and a command on the server. Listeners stay on
their ports, clients that connect meanwhile wait for the new link, and connections
that were open are reset. A server that falls silent is noticed after a minute
(ServerAliveInterval, ServerAliveCountMax).

All other letters of ssh(1) are accepted without effect, or refused with the reason.
`;

/** What `with` does. */
export const WITH = `
\`fairlead with\` connects, waits until every forward is usable, and runs <command> on
this machine. When it has ended, so does the tunnel, and its status is fairlead's.
Any forward that fails, fails all of it: then the command is not run.

The command finds the ports of forwards that were asked for with port 0 in
FAIRLEAD_PORT (the first), FAIRLEAD_PORT_1 (the second) and so on, and where a
forward named db listens in FAIRLEAD_DB_HOST and FAIRLEAD_DB_PORT. In its arguments
\`{db.host}\` and \`{db.port}\` are replaced. A variable that \`-i env:\` or
\`--password env:\` names is not in its environment.

The terminal and its signals are the command's. Of signals that are sent to fairlead
alone only SIGTERM and SIGHUP are passed on in a terminal's foreground, since Ctrl-C
has reached the command already. Connections that are open at its end get 5 seconds.
`;

/** What the commands of named tunnels have in common. */
export const NAMED_TUNNELS = `
The file \`fairlead.yaml\` says which tunnels a project needs: each has a name, the
host that it leads to, and its forwards as ssh writes them or in parts.
\`fairlead init\` writes one to begin with, \`fairlead import\` makes one of what ssh
forwards, and \`fairlead schema\` has every key.

    version: 1
    tunnels:
      mail:
        host: me@other.example.com
        forwards:
          - local: 1100:mail.example.com:110
          - { name: db, local: 0, to: "db.internal:5432" }

It is the nearest one, in the working folder or above, or else the user's own; nobody
else may be able to write it. <name> is the name of a tunnel, or of a group of them;
without one all are meant.

\`fairlead up\` ends once every tunnel is up. A background process of the user's keeps
them; it begins with the first \`up\` and ends with the last \`down\`. With
\`up --foreground\` there is none. The other commands ask it by its control socket,
which nobody else can connect to. \`fairlead logs\` shows what it has logged, also
when it has ended.

\`--json\`, \`-q\`, \`-v\` and \`-h\` can be given to each of these commands.
`;

/** Tags of a list, and what is said of them. */
export type Entries = readonly (readonly [tag: string, text: string])[];

/** ENVIRONMENT. */
export const ENVIRONMENT: Entries = [
  [
    "`ALL_PROXY`, `NO_PROXY`",
    "The proxy that `--proxy env` means, and the servers that are reached without it.",
  ],
  [
    "`DISPLAY`, `WAYLAND_DISPLAY`",
    "Where one is set, the program in SSH_ASKPASS may be asked when there is no terminal.",
  ],
  [
    "`FAIRLEAD_PORT`, `FAIRLEAD_PORT_`<n>, `FAIRLEAD_`<NAME>`_HOST`, `FAIRLEAD_`<NAME>`_PORT`",
    "Set for the command of `with`.",
  ],
  [
    "`FAIRLEAD_TRACE`",
    "A file to append everything to as `-vvv` would say it, whatever the options are: for a ProxyCommand, or wherever else no option can be added.",
  ],
  ["`HOME`", "Where `.ssh` is looked for."],
  ["`NO_COLOR`", "Where it is set and not empty, nothing is coloured."],
  ["`SHELL`", "What runs a ProxyCommand; `/bin/sh` where it is not set."],
  [
    "`SSH_ASKPASS`",
    "A program that asks for passwords, passphrases and codes; `ssh-askpass` where it is not set.",
  ],
  [
    "`SSH_ASKPASS_REQUIRE`",
    "`never` does not use it, `prefer` uses it in place of the terminal, `force` without a display as well.",
  ],
  ["`SSH_AUTH_SOCK`", "The socket of the agent, unless IdentityAgent names another."],
  ["`TERM`", "Where it is `dumb`, nothing is coloured."],
  [
    "`XDG_CONFIG_HOME`, `XDG_RUNTIME_DIR`, `XDG_STATE_HOME`",
    "Where the user's own `fairlead.yaml`, the control socket and the log are; see below.",
  ],
];

/** FILES. */
export const FILES: Entries = [
  [
    "`~/.ssh/config`, `/etc/ssh/ssh_config`",
    "The user's and the system's ssh_config(5), with Include and Match. Nobody else may be able to write the user's file.",
  ],
  [
    "`~/.ssh/known_hosts`, `~/.ssh/known_hosts2`, `/etc/ssh/ssh_known_hosts`, `/etc/ssh/ssh_known_hosts2`",
    "Host keys, in the format of sshd(8). A new one that was accepted is added to the first.",
  ],
  [
    "`~/.ssh/id_rsa`, `~/.ssh/id_ecdsa`, `~/.ssh/id_ed25519`",
    "Private keys that are tried where none is named.",
  ],
  [
    "`fairlead.yaml`, `fairlead.yml`",
    "Named tunnels: in the working folder, or the nearest folder above.",
  ],
  [
    "`$XDG_CONFIG_HOME/fairlead/fairlead.yaml`",
    "The user's own, where there is no other; in `~/.config` where the variable is not set, on Windows in `%APPDATA%`.",
  ],
  [
    "`$XDG_RUNTIME_DIR/fairlead/control.sock`",
    "Where the background process of named tunnels is controlled; `fairlead-`<uid>`/control.sock` in the folder for temporary files where the variable is not set.",
  ],
  [
    "`$XDG_STATE_HOME/fairlead/fairlead.log`",
    "What it has logged, as JSON, one object a line; in `~/.local/state` where the variable is not set. Of three older files the newest is `fairlead.log.1`.",
  ],
];

/** EXIT STATUS. */
export const EXIT_STATUS: Entries = [
  ["`0`", "Done."],
  ["`1`", "`fairlead check` found something that is wrong."],
  ["`2`", "The command line or a configuration file is wrong."],
  ["`255`", "SSH or forwarding failed."],
  ["`128`+<n>", "Ended by signal <n>."],
  [
    "`126`, `127`",
    "The command of `with` is not executable, or was not found. Otherwise a command's status is its own.",
  ],
];

/** SIGNALS. */
export const SIGNALS = `
SIGINT (Ctrl-C), SIGTERM and SIGHUP stop listening and give open connections 5
seconds to finish; a second one ends at once. One that is ignored from the start
stays ignored, as SIGHUP under nohup(1); Node does not let a program see that.
`;

/** EXAMPLES. */
export const EXAMPLES = `
A mail client that asks localhost:1100 reads its mail from mail.example.com:110,
encrypted on the way to other.example.com:

    fairlead -L 1100:mail.example.com:110 other.example.com

Two forwards, the first one on a free port, which is printed:

    fairlead -L 0:db.internal:5432 -L 8080:[::1]:80 bastion.example.com

A SOCKS proxy here, and port 3000 of this machine at the server's port 8080; in the
background as soon as both are up:

    fairlead -f -D 1080 -R 8080:localhost:3000 me@bastion.example.com

A test that needs a database behind a bastion, with key and host key from variables:

    fairlead with -i env:DEPLOY_KEY --host-key env:HOST_KEY \\
        --ready=dial -L db=0:db.internal:5432 me@bastion.example.com \\
        -- psql -h {db.host} -p {db.port}

A way to a server for ssh:

    ssh -o ProxyCommand="fairlead -W %h:%p bastion.example.com" db
`;
