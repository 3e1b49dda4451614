package auth

import (
	"crypto/rand"

	"logtail/internal/server/catalog"
)

// alphabet has no sign that a shell, a URL or a configuration file would treat
// specially.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// NewAccessKey makes a random key for an account: an id in the style of SLS
// ("LTAI" and 20 more) and a secret of 36 letters and digits (214 bits).
func NewAccessKey(account string) catalog.AccessKey {
	return catalog.AccessKey{ID: "LTAI" + randomText(20), Secret: randomText(36), Account: account}
}

// NewAccountID makes the id of an account: 16 decimal digits, as SLS has them.
func NewAccountID() string {
	return "1" + random(15, "0123456789")
}

func randomText(n int) string { return random(n, alphabet) }

// random draws n letters without bias: bytes beyond the last whole multiple of
// the alphabet are thrown away.
func random(n int, letters string) string {
	limit := 256 - 256%len(letters)
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		if _, err := rand.Read(buf[:]); err != nil {
			panic(err) // crypto/rand never fails on supported systems
		}
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, letters[int(b)%len(letters)])
			}
		}
	}
	return string(out)
}
