/**
 * What the manual page says of each option: more than there is room for in --help. By the first
 * name of the option; a test sees to it that each has its text, and none is left over.
 *
 * @module
 */

/** The texts, with the marks of roff.ts. */
export const OPTION_TEXTS: Readonly<Record<string, string>> = {
  "-L": `
Listen on <port> of this machine, and connect each client from the server to
<host>:<hostport>. The form is [<name>=][<bind>:]<port>:<host>:<hostport>.
Port 0 takes a free port and prints which. Without <bind> the listener is on
loopback; an empty one or \`*\` means all interfaces, with a warning. A path in
place of [<bind>:]<port> or of <host>:<hostport> is a Unix socket; one that is
made here has mode 0600. IPv6 addresses stand in brackets. A <name> is what
log lines call the forward. The option can be repeated.`,
  "-R": `
Listen on the server, and connect each client from this machine to
<host>:<hostport>. The form is that of \`-L\`; port 0 lets the server choose.
Without a destination, as [<bind>:]<port>, clients on the server speak SOCKS, and
PermitRemoteOpen says where they may connect to. When the link is lost, the
listener is asked for again on the new one, with the port it had.`,
  "-D": `
Be a SOCKS 4, 4a and 5 proxy on [<bind>:]<port> of this machine: the server
connects to what each client asks for. Port 0 takes a free port.`,
  "-W": `
Connect stdin and stdout to <host>:<port> from the server, as a ProxyCommand for
ssh does. There are no listeners then, and a lost link ends the run.`,
  "-g": `
Have listeners without a bind address on all interfaces, open to everybody who
reaches this machine.`,
  "-p": "The server's port. The default is 22.",
  "-l": "The user's name on the server; the same as <user>@ before the host.",
  "-i": `
A file with a private key; its certificate is looked for in <file>-cert.pub.
\`env:\`<NAME> stands for a key in an environment variable, \`-\` for one on stdin.
The option can be repeated.`,
  "-J": `
Go through these servers, one after another: [<user>@]<host>[:<port>], with commas
between them. Each is reached by its own lines of ssh_config(5).`,
  "-o": `
An option as ssh_config(5) has it: <Keyword>=<value>. It wins over what the files
say. The option can be repeated.`,
  "-F": `
Read this file in place of the user's and the system's ssh_config. \`none\` reads
no file.`,
  "-P": "A tag, for `Match tagged` in ssh_config(5).",
  "-G": `
Print what is configured for the host, keyword by keyword as \`ssh -G\` does, and
end. Nothing is connected to.`,
  "-Q": `
Print the algorithms of a kind, one a line, and end: \`kex\`, \`cipher\`, \`mac\`,
\`key\`, \`sig\`, or the name of a keyword such as \`Ciphers\`. \`help\` lists what can
be asked for.`,
  "-N": "Run no command on the server, whatever RemoteCommand says; forward only.",
  "-f": `
Go to the background once every forward is up. Until then questions are asked at
the terminal, and a failure is the status of the run. It implies \`-n\`.`,
  "-n": "Do not read stdin.",
  "-E": "Append what is logged to this file, in place of stderr.",
  "-4": "Connect by IPv4 only.",
  "-6": "Connect by IPv6 only.",
  "-b": "The address of this machine to connect from, or a name of it.",
  "-B": "The interface of this machine to connect from.",
  "-c": `
Ciphers, best first, with commas between them. A list that begins with \`+\` is
added to the usual one, with \`-\` taken from it, with \`^\` put in front of it.
\`-Q cipher\` lists them.`,
  "-m": "Message authentication codes, in the form of `-c`; `-Q mac` lists them.",
  "-v":
    "Say more: each connection, and how the server was reached. `-vv` and `-vvv` say still more.",
  "-q": "Say nothing but errors.",
  "-V": "Print the version, and end.",
  "--host-key": `
The host key that the server must show: \`SHA256:\`<fingerprint>, the public key
itself, or \`env:\`<NAME> for either in an environment variable. known_hosts files
are not looked at then. It is not meant for jump hosts. The option can be repeated.`,
  "--password": "The password, as `env:`<NAME>: what the environment variable holds.",
  "--passphrase": "The passphrase of encrypted keys, as `env:`<NAME>.",
  "--proxy": `
Connect through a proxy: \`socks5://\`<host>:<port>, \`http://\`<host>:<port>, \`env\`
for the one that ALL_PROXY names, or \`env:\`<NAME>. A URL with a password has to be
in a variable, since every user of the machine sees the command line.`,
  "--wait": `
Try again where the first connection fails, too, so that fairlead can be started
before the network or the server is there.`,
  "--retry": `
Give a lost link up after so many tries; the default is never. A try is a
connection that reached the server, or a second without one. 0 ends the run when
the link is lost.`,
  "--retry-for":
    "Give a lost link up after so long, such as `90` or `1h30m`; the default is never.",
  "--park": `
How long a client that connects while the link is lost waits for the new one; the
default is 30 seconds. 0 turns it away at once.`,
  "--idle-timeout": "End after so long without any connection.",
  "--window-budget": `
How many bytes servers may send ahead of their readers, over all connections; K, M
and G can follow the number. The default is 64M.`,
  "--connections": `
Spread forwarded connections over so many SSH connections, 1 to 16; the default
is 1. One stream alone gets no faster; many are no longer held up by each other's
lost packets, and the server uses more processors. \`auto\` begins with one and makes
others as they are needed, up to 4.`,
  "-M": "Be the master of other runs, at the socket that `-S` or ControlPath names.",
  "-S": "The control socket, by which runs share a connection; `none` for none.",
  "-O": `
Ask the master at the control socket, as in ssh: \`check\`, \`forward\`, \`cancel\`, \`exit\`,
\`stop\`, \`conninfo\` and \`channels\`.`,
  "--metrics": `
Serve figures for Prometheus at this address, \`[bind:]port\`, under \`/metrics\`, and
\`/healthz\` and \`/readyz\` beside them; on loopback unless another address is named. Port
0 takes a free one, which is said.`,
  "--no-system-crypto":
    "Encrypt with AES-GCM of the runtime itself, not of the system's libcrypto.",
  "--json": `
Say everything as JSON, one object a line with a \`v\` field: events on stdout, errors
on stderr.`,
  "-h": "Print a summary, and end; after `with` that of `with`.",
  "--ready": `
When a forward is usable: with \`bind\`, the default, once it listens; with \`dial\` once
the destination of each \`-L\` answers, too. A refusal by policy is final.`,
  "--ready-timeout": "How long `--ready=dial` waits for the answers; the default is 60 seconds.",
};
