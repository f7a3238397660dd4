// Package seal encrypts secrets before they enter the replicated log.
//
// A [Ring] holds named XChaCha20-Poly1305 keys. The newest seals, all of them
// open. The ring lies in a file of mode 0600 on controllers only and is handed
// over when the role is granted; a restart needs nobody. It protects logs,
// snapshots and backups, not a stolen controller disk.
//
// A sealed text is
//
//	version (1 byte, 1) | key id (4 bytes) | nonce (24 bytes) | ciphertext and tag
//
// and is bound to additional data of the caller (which row and field it is),
// so that it cannot be moved to another place.
package seal
