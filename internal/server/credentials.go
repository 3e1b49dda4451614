package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"logtail/internal/server/api"
	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
)

// CredentialsFile is the name of the credentials file in the data folder.
const CredentialsFile = "credentials.json"

// adminName is the account that the first start makes.
const adminName = "admin"

// Credentials are what a client needs to talk to the service. The file that
// holds them is readable by its owner only.
type Credentials struct {
	Endpoint        string `json:"endpoint"` // base URL
	AccessKeyID     string `json:"access_key_id"`
	AccessKeySecret string `json:"access_key_secret"`
	Project         string `json:"project"`  // where this machine's logs go; "" until Ensure was called
	Logstore        string `json:"logstore"` // likewise
	Console         string `json:"console"`  // URL of the web console; "" while there is none
	// Certificate is the self-signed certificate of the service as PEM, for
	// clients to trust; "" if the service speaks plain HTTP or was given one.
	Certificate string `json:"certificate,omitempty"`
}

// ReadCredentials reads a credentials file.
func ReadCredentials(path string) (Credentials, error) {
	var c Credentials
	b, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("the credentials file %s is damaged: %w; restore it from a backup", path, err)
	}
	return c, nil
}

// Credentials returns the administrator's credentials, complete after Start.
func (s *Server) Credentials() Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.credentials
}

// openAccount makes the administrator's account on the first start. The
// credentials file is written before the account is made: a crash between the
// two leaves a key that is made good by the next start, never an account whose
// key nobody knows.
func (s *Server) openAccount(ctx context.Context) error {
	path := filepath.Join(s.opts.Data, CredentialsFile)
	known, err := ReadCredentials(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	accounts, listErr := s.engines.catalog.Accounts(ctx)
	if listErr != nil {
		return fmt.Errorf("read the accounts: %w", listErr)
	}
	s.credentials = known
	if len(accounts) > 0 {
		return s.checkAccount(ctx, path, err == nil)
	}

	account := catalog.Account{ID: auth.NewAccountID(), Name: adminName, Admin: true, Created: s.opts.Clock()}
	key := auth.NewAccessKey(account.ID)
	key.Created = account.Created
	if known.AccessKeyID != "" && known.AccessKeySecret != "" {
		key.ID, key.Secret = known.AccessKeyID, known.AccessKeySecret
	}
	if err := s.writeCredentials(func(c *Credentials) {
		// Project and logstore of an earlier catalog are not there any more.
		*c = Credentials{Endpoint: c.Endpoint, AccessKeyID: key.ID, AccessKeySecret: key.Secret}
	}); err != nil {
		return err
	}
	if err := s.engines.catalog.CreateAccount(ctx, account, key); err != nil {
		return fmt.Errorf("make the administrator's account: %w", err)
	}
	s.admin = key
	return nil
}

// checkAccount looks whether the credentials file still fits the catalog. If it
// does not, the service runs all the same: other keys may be in use.
func (s *Server) checkAccount(ctx context.Context, path string, found bool) error {
	if !found {
		s.opts.Logger.Warn("the credentials file is missing and the service cannot show a secret again; restore the file from a backup to use it for local commands", "file", path)
		return nil
	}
	key, _, err := s.engines.catalog.AccessKey(ctx, s.credentials.AccessKeyID)
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		s.opts.Logger.Warn("the access key in the credentials file is not known to the service; restore the file from a backup", "file", path)
		return nil
	case err != nil:
		return fmt.Errorf("read the administrator's key: %w", err)
	}
	s.admin = key
	return nil
}

// writeCredentials changes the credentials and writes the file, if it would
// change. Without a key there is nothing to write.
func (s *Server) writeCredentials(change func(*Credentials)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.credentials
	change(&s.credentials)
	if s.credentials == before || s.credentials.AccessKeyID == "" {
		return nil
	}
	b, err := json.MarshalIndent(s.credentials, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the credentials: %w", err)
	}
	path := filepath.Join(s.opts.Data, CredentialsFile)
	if err := api.WriteFileAtomic(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write the credentials file %s: %w", path, plain(err))
	}
	return nil
}

// Ensure makes the project, the logstore and a full-text index of it exist,
// owned by the administrator, and names them in the credentials file. What
// exists is left as it is.
func (s *Server) Ensure(ctx context.Context, project, logstore string) error {
	if s.admin.Account == "" {
		return fmt.Errorf("the administrator's key is not known, so no project can be made for it; restore %s from a backup",
			filepath.Join(s.opts.Data, CredentialsFile))
	}
	if err := s.api.Ensure(ctx, s.admin.Account, project, logstore); err != nil {
		return err
	}
	return s.writeCredentials(func(c *Credentials) { c.Project, c.Logstore = project, logstore })
}
