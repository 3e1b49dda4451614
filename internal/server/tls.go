package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"logtail/internal/server/api"
)

const (
	certificateLife  = 10 * 365 * 24 * time.Hour
	certificateRenew = 30 * 24 * time.Hour // before it ends
)

func tlsConfig(pair tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// hostNames are the names and addresses that a self-signed certificate is for:
// this machine, the service's domains and every project before them.
func (o *Options) hostNames() []string {
	names := []string{"localhost", "*.localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && host != "" {
		names = append(names, strings.ToLower(host))
	}
	if host, _, err := net.SplitHostPort(o.Listen); err == nil && host != "" {
		names = append(names, strings.ToLower(host))
	}
	for _, d := range o.Domains {
		d = strings.ToLower(strings.Trim(strings.TrimSpace(d), "."))
		if d != "" {
			names = append(names, d, "*."+d)
		}
	}
	return names
}

// selfSigned loads the certificate of the folder, or makes one at the first
// start, when it is about to end, or when names were added.
func selfSigned(dir string, names []string, now time.Time) (tls.Certificate, string, error) {
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && fits(&pair, names, now) {
		certificate, err := os.ReadFile(certFile)
		return pair, string(certificate), err
	}
	var failed *os.PathError
	if errors.As(err, &failed) && !errors.Is(err, os.ErrNotExist) {
		return pair, "", fmt.Errorf("cannot read the certificate in %s: %w; give this user the right to, or delete the folder to have a new one made", dir, err)
	}
	certificate, key, err := makeCertificate(names, now)
	if err != nil {
		return pair, "", fmt.Errorf("make a certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return pair, "", fmt.Errorf("cannot make the folder %s: %w", dir, plain(err))
	}
	// A crash between the two leaves a pair that does not fit; as one that is
	// damaged, it is made anew by the next start.
	for _, f := range []struct {
		path string
		data []byte
	}{{keyFile, key}, {certFile, certificate}} {
		if err := api.WriteFileAtomic(f.path, f.data, 0o600); err != nil {
			return pair, "", fmt.Errorf("cannot write %s: %w", f.path, plain(err))
		}
	}
	pair, err = tls.X509KeyPair(certificate, key)
	return pair, string(certificate), err
}

// fits says whether the certificate is for all the names and not about to end.
func fits(pair *tls.Certificate, names []string, now time.Time) bool {
	cert := pair.Leaf
	if cert == nil || now.Before(cert.NotBefore) || now.After(cert.NotAfter.Add(-certificateRenew)) {
		return false
	}
	has := make(map[string]bool)
	for _, n := range cert.DNSNames {
		has[n] = true
	}
	for _, ip := range cert.IPAddresses {
		has[ip.String()] = true
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			n = ip.String()
		}
		if !has[n] {
			return false
		}
	}
	return true
}

// makeCertificate returns a self-signed certificate and its key as PEM.
func makeCertificate(names []string, now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "logtail"},
		NotBefore:    now.Add(-time.Hour), // clocks of clients may be behind
		NotAfter:     now.Add(certificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// Clients are given this very certificate as their root.
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
