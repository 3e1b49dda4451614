// Package sdkclient makes clients of the stock Go SDK that reach a service at
// an address of the test's choice.
//
// The SDK knows host style only: it requests http://{project}.{endpoint}/, and
// no name resolves below an address like 127.0.0.1:8080. So its HTTP client
// gets a dialer that connects to that address whatever the host is called. The
// service sees the Host "{project}.127.0.0.1:8080" as it would with wildcard
// DNS, and that is also what the SDK signs.
package sdkclient

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"

	sls "github.com/aliyun/aliyun-log-go-sdk"
)

// Limits for tests: the SDK's own would hang a test for a minute and a half.
const (
	requestTimeout = 30 * time.Second
	retryTimeout   = 30 * time.Second
)

// New returns a client of the SDK for the service at addr, host:port or a URL
// with the scheme http or https. It signs by version 1; SetAuthVersion and
// SetRegion make that version 4. With https the certificate is not verified.
func New(addr, keyID, secret string) sls.ClientInterface {
	scheme, host := "http", addr
	if s, h, ok := strings.Cut(addr, "://"); ok {
		scheme, host = s, h
	}
	c := sls.CreateNormalInterfaceV2(scheme+"://"+host, sls.NewStaticCredentialsProvider(keyID, secret, ""))
	c.SetHTTPClient(HTTPClient(host))
	c.SetRetryTimeout(retryTimeout)
	return c
}

// HTTPClient returns an HTTP client that connects to host, which has a port,
// whatever it is asked for. The SDK's producer and consumer take it too.
func HTTPClient(host string) *http.Client {
	var d net.Dialer
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return d.DialContext(ctx, network, host)
			},
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // a test's certificate is its own
		},
	}
}
