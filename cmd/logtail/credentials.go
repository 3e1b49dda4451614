package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"logtail/internal/server"
	"logtail/internal/sls"
)

const (
	credentialsEnv = "LOGTAIL_CREDENTIALS"
	defaultData    = "./logtail-data"
)

// credentials are what is in a credentials file, and where it is.
type credentials struct {
	server.Credentials
	path string
}

func addCredentialsFlag(c *cobra.Command) {
	c.Flags().String("credentials", "", "credentials file (default $"+credentialsEnv+", then logtail/credentials.json in the user's configuration folder, then "+defaultData+"/credentials.json)")
}

// findCredentials returns the path of the credentials file: the one that was
// named, or the first of the usual places that exists.
func findCredentials(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if env := os.Getenv(credentialsEnv); env != "" {
		return env, nil
	}
	var places []string
	if dir, err := os.UserConfigDir(); err == nil {
		places = append(places, filepath.Join(dir, "logtail", server.CredentialsFile))
	}
	places = append(places, filepath.Join(defaultData, server.CredentialsFile))
	for _, p := range places {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return p, nil
		}
	}
	return "", fmt.Errorf("there is no credentials file at %s; start the service with logtail up, or name a file with --credentials or $%s", joinOr(places), credentialsEnv)
}

func joinOr(list []string) string {
	s := ""
	for i, item := range list {
		switch {
		case i == 0:
		case i == len(list)-1:
			s += " or "
		default:
			s += ", "
		}
		s += item
	}
	return s
}

// loadCredentials finds and reads the credentials file of a command.
func loadCredentials(cmd *cobra.Command) (*credentials, error) {
	named, _ := cmd.Flags().GetString("credentials")
	path, err := findCredentials(named)
	if err != nil {
		return nil, err
	}
	return readCredentials(cmd, path)
}

// readCredentials reads a credentials file. One that others can read is used,
// with a warning: refusing would take the logs away from somebody who looks for
// a fault right now.
func readCredentials(cmd *cobra.Command, path string) (*credentials, error) {
	c, err := server.ReadCredentials(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the credentials file %s does not exist; start the service with logtail up, or name another file with --credentials", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the credentials file %s may not be read by this user; run the command as its owner, or name another file with --credentials", path)
	case err != nil:
		return nil, err
	}
	for name, value := range map[string]string{"endpoint": c.Endpoint, "access_key_id": c.AccessKeyID, "access_key_secret": c.AccessKeySecret} {
		if value == "" {
			return nil, fmt.Errorf("the credentials file %s has no %s; take the file that logtail up or logtail server wrote", path, name)
		}
	}
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "logtail: warning: the credentials file %s can be read by other users; run: chmod 600 %s\n", path, path)
	}
	return &credentials{Credentials: c, path: path}, nil
}

// tlsConfig trusts the service's own certificate, where the file has one; nil
// trusts the roots of the system.
func (c *credentials) tlsConfig() (*tls.Config, error) {
	if c.Certificate == "" {
		return nil, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(c.Certificate)) {
		return nil, fmt.Errorf("the certificate in the credentials file %s cannot be read; take the file that logtail server wrote", c.path)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// client is a client of the service with the file's key.
func (c *credentials) client() (*sls.Client, error) {
	o := sls.ClientOptions{
		Endpoint:  c.Endpoint,
		Signer:    sls.Signer{Credentials: sls.Credentials{AccessKeyID: c.AccessKeyID, AccessKeySecret: c.AccessKeySecret}},
		UserAgent: userAgent(),
	}
	var err error
	if o.TLS, err = c.tlsConfig(); err != nil {
		return nil, err
	}
	client, err := sls.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("the endpoint in the credentials file %s cannot be used: %w", c.path, err)
	}
	return client, nil
}

// target is the logstore that a client command works on.
type target struct {
	*sls.Client
	creds             *credentials
	project, logstore string
}

func addTargetFlags(c *cobra.Command) {
	addCredentialsFlag(c)
	c.Flags().String("project", "", "project (default: the one in the credentials file)")
	c.Flags().String("logstore", "", "logstore (default: the one in the credentials file)")
}

// openTarget reads the credentials and asks the service for the logstore: one
// signed request that shows at once whether the key is good, and whether there
// is such a logstore.
func openTarget(ctx context.Context, cmd *cobra.Command) (*target, error) {
	creds, err := loadCredentials(cmd)
	if err != nil {
		return nil, err
	}
	t := &target{creds: creds, project: creds.Project, logstore: creds.Logstore}
	for name, to := range map[string]*string{"project": &t.project, "logstore": &t.logstore} {
		if v, _ := cmd.Flags().GetString(name); v != "" {
			*to = v
		}
		if *to == "" {
			return nil, usagef("no %s is given, and the credentials file %s names none; give one with --%s", name, creds.path, name)
		}
	}
	if t.Client, err = creds.client(); err != nil {
		return nil, err
	}
	if _, err := t.GetLogstore(ctx, t.project, t.logstore); err != nil {
		t.Close()
		return nil, t.explain(err)
	}
	return t, nil
}

// explain turns an error of the service into a sentence with a remedy.
func (t *target) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if errors.Is(err, sls.ErrNetwork) {
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			return fmt.Errorf("the certificate of %s is not the one in the credentials file %s; take the service's present file with --credentials", t.creds.Endpoint, t.creds.path)
		}
		return fmt.Errorf("the service at %s (from %s) cannot be reached: %s; start it with logtail up, or name another one with --credentials", t.creds.Endpoint, t.creds.path, cause(err))
	}
	e, ok := sls.AsError(err)
	if !ok {
		return err
	}
	if e.Code == sls.CodeInvalidQueryString || e.Code == sls.CodeInvalidLogStoreQuery || strings.HasPrefix(e.Message, "query, column ") {
		return usageError{errors.New(e.Message)} // says where and what, as the service's parser does
	}
	switch e.Code {
	case sls.CodeUnauthorized, sls.CodeSignatureNotMatch, sls.CodeMissAccessKeyID:
		return fmt.Errorf("the access key %s from %s was refused by %s (%s); give the present credentials file with --credentials", t.creds.AccessKeyID, t.creds.path, t.creds.Endpoint, e.Code)
	case sls.CodeRequestTimeTooSkewed, sls.CodeRequestTimeExpired:
		return fmt.Errorf("the clock of this machine is too far from that of %s (%s); set the clock", t.creds.Endpoint, e.Code)
	case sls.CodeProjectNotExist:
		return fmt.Errorf("there is no project %s at %s; name another one with --project", t.project, t.creds.Endpoint)
	case sls.CodeLogStoreNotExist:
		return fmt.Errorf("there is no logstore %s in the project %s; name another one with --logstore", t.logstore, t.project)
	case sls.CodeProjectForbidden:
		return fmt.Errorf("the access key %s may not use the project %s; name another project with --project, or other credentials with --credentials", t.creds.AccessKeyID, t.project)
	case sls.CodeIndexConfigNotExist:
		return fmt.Errorf("the logstore %s has no index, so it cannot be searched; create an index, or follow it with logtail tail", t.logstore)
	}
	return fmt.Errorf("the service answered %w", e)
}

// cause is the innermost reason of an error.
func cause(err error) string {
	for {
		switch u := err.(type) { //nolint:errorlint // walks the chain itself
		case interface{ Unwrap() error }:
			if next := u.Unwrap(); next != nil {
				err = next
				continue
			}
		case interface{ Unwrap() []error }:
			if list := u.Unwrap(); len(list) > 1 {
				err = list[len(list)-1]
				continue
			}
		}
		return err.Error()
	}
}
