package api

import (
	"net"
	"net/netip"
	"strings"
)

// cleanDomains brings host names into the form in which they are compared.
func cleanDomains(domains []string) []string {
	var out []string
	for _, d := range domains {
		if d = strings.Trim(strings.ToLower(strings.TrimSpace(d)), "."); d != "" {
			out = append(out, d)
		}
	}
	return out
}

// ProjectOf takes the project out of the Host header: what stands before one of
// the service's domains (lower case, no dots at the ends), "localhost" or an IP
// address. On exactly such a host it is the value of x-log-project, "" if there
// is none: the bare endpoint.
//
// Under a host name that the service does not know as its own, the header
// counts; without it the first of three or more labels is the project, so that
// a stock SDK works through any name that leads here.
func ProjectOf(host, header string, domains []string) string {
	host = strings.ToLower(host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if host == "" || isLocal(host) {
		return header
	}
	for _, d := range domains {
		if host == d {
			return header
		}
		if p, ok := strings.CutSuffix(host, "."+d); ok {
			return p
		}
	}
	first, rest, _ := strings.Cut(host, ".")
	switch {
	case isLocal(rest):
		return first
	case header != "":
		return header
	case strings.Contains(rest, "."):
		return first
	}
	return ""
}

func isLocal(host string) bool {
	if host == "localhost" {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
