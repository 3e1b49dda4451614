package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"logtail/internal/server"
)

// addListenFlags adds the flags that up and server share.
func addListenFlags(c *cobra.Command) {
	c.Flags().String("data", defaultData, "folder for everything that is kept")
	c.Flags().String("listen", server.DefaultListen, "address to listen on, host:port; port 0 for any free one")
}

// listenFlags reads them.
func listenFlags(cmd *cobra.Command) (data, listen string, err error) {
	data, _ = cmd.Flags().GetString("data")
	listen, _ = cmd.Flags().GetString("listen")
	if data == "" {
		return "", "", usagef("--data is empty; name a folder")
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", "", usagef("--listen %q is not an address; write host:port, for example %s", listen, server.DefaultListen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", "", usagef("--listen %q has the port %q; allowed: 0 to 65535", listen, port)
	}
	return data, listen, nil
}

func newServer() *cobra.Command {
	var o server.Options
	c := &cobra.Command{
		Use:   "server",
		Short: "Run the Log Service",
		Long: `Run the Log Service until Ctrl-C. It speaks HTTPS, with a certificate that it
makes itself unless one is given. The first start makes an administrator's key,
writes it to DATA/credentials.json, and makes the project and logstore "default".`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Data, o.Listen, err = listenFlags(cmd); err != nil {
				return err
			}
			switch {
			case (o.TLSCert == "") != (o.TLSKey == ""):
				return usagef("--tls-cert and --tls-key belong together; give both or none")
			case o.InsecureHTTP && o.TLSCert != "":
				return usagef("--insecure-http and --tls-cert exclude one another; give one of them")
			}
			if o.Logger, err = newLogger(cmd, slog.LevelInfo); err != nil {
				return err
			}
			o.Clock = clock
			_, err = os.Stat(filepath.Join(o.Data, server.CredentialsFile))
			first := errors.Is(err, fs.ErrNotExist)
			s, err := server.New(o)
			if err != nil {
				return err
			}
			if err := s.Start(cmd.Context()); err != nil {
				return fmt.Errorf("the service stopped: %w", err)
			}
			if first { // so that the first agent has somewhere to send to
				if err := s.Ensure(cmd.Context(), upProject, upLogstore); err != nil {
					return errors.Join(err, s.Shutdown(cmd.Context()))
				}
			}
			if err := s.Wait(cmd.Context()); err != nil {
				return fmt.Errorf("the service stopped: %w", err)
			}
			return nil
		},
	}
	addListenFlags(c)
	f := c.Flags()
	f.StringVar(&o.TLSCert, "tls-cert", "", "certificate, PEM file")
	f.StringVar(&o.TLSKey, "tls-key", "", "key of the certificate, PEM file")
	f.BoolVar(&o.InsecureHTTP, "insecure-http", false, "speak plain HTTP: for loopback, or behind something that ends TLS")
	f.StringSliceVar(&o.Domains, "domain", nil, "host name of the service, before which projects stand as PROJECT.DOMAIN")
	return c
}

// isLoopback says that only this machine can reach the address.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
