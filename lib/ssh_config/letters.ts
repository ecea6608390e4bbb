/**
 * Every letter of ssh's command line and what becomes of it. docs/ssh_config.md says the same for
 * people; a test holds the two together.
 *
 * @module
 */
import type { Policy } from "./rules.ts";

/** One letter of ssh(1). */
export interface Letter {
  readonly policy: Policy;
  /** The name of its argument, where it takes one. */
  readonly argument?: string;
  /** The keyword of ssh_config(5) that says the same. */
  readonly keyword?: string;
  /** What the keyword is set to, where the letter takes no argument. */
  readonly value?: string;
  /** The line in --help. */
  readonly help?: string;
  /** Why it has no effect, or is refused. */
  readonly reason?: string;
}

const NOTHING_TO_TURN_OFF = "it turns off what fairlead never does";
const NO_X11 = "fairlead forwards ports, not X11";

/** By their letters with the dash, in the order of --help. */
export const LETTERS: Readonly<Record<string, Letter>> = {
  "-L": honoured("[bind:]port:host:hostport; port 0 takes a free one", "LocalForward", "forward"),
  "-R": honoured("the same on the server; or [bind:]port for SOCKS", "RemoteForward", "forward"),
  "-D": honoured("[bind:]port here, for SOCKS clients", "DynamicForward", "forward"),
  "-W": { policy: "honoured", argument: "address", help: "connect stdin and stdout to host:port" },
  "-g": turns("GatewayPorts", "yes", "listen on all interfaces where no bind address is given"),
  "-p": honoured("the server's port (22)", "Port", "port"),
  "-l": honoured("the user's name on the server", "User", "user"),
  "-i": honoured(
    "a private key: a file, env:NAME, or - for stdin",
    "IdentityFile",
    "file",
  ),
  "-J": honoured("go through these servers: [user@]host[:port],...", "ProxyJump", "hosts"),
  "-o": {
    policy: "honoured",
    argument: "option",
    help: "an option as ssh_config has it, such as -o Port=2222",
  },
  "-F": {
    policy: "honoured",
    argument: "file",
    help: "read this ssh_config and no other; none reads none",
  },
  "-P": honoured("a tag for Match tagged in ssh_config", "Tag", "tag"),
  "-G": { policy: "honoured", help: "print what is configured for the host, and end" },
  "-Q": {
    policy: "honoured",
    argument: "query",
    help: "print algorithms: kex, cipher, mac, key, ...",
  },
  "-N": turns("SessionType", "none", "no command on the server; forward only"),
  "-f": turns("ForkAfterAuthentication", "yes", "to the background, once every forward is up"),
  "-n": turns("StdinNull", "yes", "do not read stdin"),
  "-E": {
    policy: "honoured",
    argument: "file",
    help: "append what is logged to a file, not to stderr",
  },
  "-M": turns("ControlMaster", "yes", "be the master of other runs, at the socket of -S"),
  "-S": honoured("the control socket; none for none", "ControlPath", "path"),
  "-O": {
    policy: "honoured",
    argument: "command",
    help: "ask the master: check, forward, cancel, exit, stop, ...",
  },
  "-4": turns("AddressFamily", "inet", "IPv4 only"),
  "-6": turns("AddressFamily", "inet6", "IPv6 only"),
  "-b": honoured("the local address to connect from", "BindAddress", "address"),
  "-B": honoured("the local interface to connect from", "BindInterface", "interface"),
  "-c": honoured("ciphers, best first, with commas", "Ciphers", "ciphers"),
  "-m": honoured("message authentication codes, best first", "MACs", "macs"),
  "-v": { policy: "honoured", help: "say more; -vv and -vvv say still more" },
  "-q": { policy: "honoured", help: "say nothing but errors" },
  "-V": { policy: "honoured" },
  "-2": { policy: "accepted", reason: "there is no other version of the protocol" },
  "-a": { policy: "accepted", reason: NOTHING_TO_TURN_OFF },
  "-k": { policy: "accepted", reason: NOTHING_TO_TURN_OFF },
  "-T": { policy: "accepted", reason: NOTHING_TO_TURN_OFF },
  "-x": { policy: "accepted", reason: NOTHING_TO_TURN_OFF },
  "-C": { policy: "accepted", reason: "nothing is compressed" },
  "-e": { policy: "accepted", argument: "char", reason: "there is no terminal to escape from" },
  "-1": refused("version 1 of the SSH protocol is no longer supported"),
  "-A": refused("fairlead forwards ports, not the agent"),
  "-X": refused(NO_X11),
  "-Y": refused(NO_X11),
  "-t": refused("fairlead forwards ports and opens no terminal"),
  "-s": refused("fairlead forwards ports and starts no subsystem"),
  "-w": refused("fairlead forwards TCP connections and opens no tunnel device", "tun"),
  "-K": refused("fairlead does not use GSSAPI"),
  "-I": refused("fairlead does not load PKCS#11; an agent can hold the token's keys", "pkcs11"),
  "-y": refused("fairlead does not write to the system log; -E writes to a file"),
};

function honoured(help: string, keyword: string, argument: string): Letter {
  return { policy: "honoured", argument, keyword, help };
}

function turns(keyword: string, value: string, help: string): Letter {
  return { policy: "honoured", keyword, value, help };
}

function refused(reason: string, argument?: string): Letter {
  return { policy: "refused", reason, ...(argument === undefined ? {} : { argument }) };
}
