/**
 * The fairlead.yaml to begin with.
 *
 * @module
 */

/** The file with the JSON Schema that the first line of a fairlead.yaml names for editors. */
export const SCHEMA_FILE = ".fairlead.schema.json";

/** What tells an editor (the YAML language server) which schema a fairlead.yaml has. */
export const SCHEMA_LINE = `# yaml-language-server: $schema=${SCHEMA_FILE}`;

/**
 * The text of a fairlead.yaml that says what can stand in one. It loads as it is.
 *
 * @returns Lines of at most 80 columns.
 */
export function startingFile(): string {
  return TEXT;
}

const TEXT = `${SCHEMA_LINE}
# The line above has an editor complete and check the keys of this file, once
# the schema is there:
#   fairlead schema > ${SCHEMA_FILE}
#
# SSH tunnels of this project.
#   fairlead check    says what is wrong before you need them
#   fairlead up       brings them up, in the background
#   fairlead status   shows them;  fairlead down  ends them
# \${NAME} and \${NAME:-default} stand for variables of the environment.
version: 1

# What holds for every tunnel that does not say otherwise.
defaults:
  # After this much silence the server is asked for a sign of life.
  keepalive: 15s
  # A host key that is not known: strict (refuse), ask, accept-new or off.
  hostKeyPolicy: ask

tunnels:
  # The tunnel's name: fairlead up mail
  mail:
    # [user@]host, an alias of ~/.ssh/config, or ssh://[user@]host[:port]
    host: other.example.com
    # port: 22
    # Servers to go through, or another tunnel of this file:
    # jump: [bastion.example.com]
    # A private key's file, or env:NAME for one in a variable:
    # identity: ~/.ssh/id_ed25519
    # Who the server is: files as ~/.ssh/known_hosts, or hostKey: SHA256:...
    # knownHosts: ./known_hosts
    forwards:
      # localhost:1100 here leads to port 110 of mail.example.com, seen from
      # the server: ssh -L 1100:mail.example.com:110
      - local: 1100:mail.example.com:110
      # The same in words. Port 0 takes a free one; fairlead status shows it.
      # - { name: db, local: 0, to: db.internal:5432 }
      # Port 8080 of the server leads to our port 3000: ssh -R
      # - remote: 8080:localhost:3000
      # A SOCKS proxy here: ssh -D
      # - dynamic: 1080
    # fairlead up dev brings all tunnels of the group up.
    # groups: [dev]
    # Tunnels that must be up before this one:
    # dependsOn: [vpn]
    # Any other keyword of ssh_config(5):
    # options: { Compression: no }
`;
