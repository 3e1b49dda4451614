package buffer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"logtail/internal/wal"
)

const (
	keyName    = "key"
	keyVersion = 1
	keyBytes   = 32
)

// key seals the records.
type key struct {
	id     uint32 // names it in the records; says nothing of it
	secret []byte
	aead   cipher.AEAD
}

func newKey(secret []byte) (*key, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	// A random nonce for each record is safe for 2^32 of them under one key; at
	// full speed to the largest disk that is years of them.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("logtail-buffer-key-id"), secret...))
	return &key{id: binary.LittleEndian.Uint32(sum[:]), secret: secret, aead: aead}, nil
}

// readKey returns nil if there is no key file. The error is a *wal.VersionError,
// wraps errDamaged, or comes from reading.
func readKey(dir string) (*key, error) {
	path := filepath.Join(dir, keyName)
	text, err := readLine(path, "key", keyVersion)
	if err != nil || text == "" {
		return nil, err
	}
	secret, err := hex.DecodeString(text)
	if err != nil || len(secret) != keyBytes {
		return nil, fmt.Errorf("the file %s: %w", path, errDamaged)
	}
	return newKey(secret)
}

// makeKey makes a key and its file.
func makeKey(f *wal.Faults, dir string) (*key, error) {
	secret := make([]byte, keyBytes)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	k, err := newKey(secret)
	if err != nil {
		return nil, err
	}
	return k, k.write(f, dir)
}

// write makes the key file, which only this user can read.
func (k *key) write(f *wal.Faults, dir string) error {
	return writeLine(f, filepath.Join(dir, keyName), "key", keyVersion, hex.EncodeToString(k.secret))
}
