package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
	"logtail/internal/sls"
)

// fullText is the index that Ensure makes: all words of all fields, with SLS's
// own delimiters.
var fullText = sls.Index{
	TTL: DefaultTTLDays,
	Line: &sls.IndexLine{Token: []string{
		" ", "\n", "\t", "\r", ",", ";", "[", "]", "{", "}", "(", ")", "&", "^", "*", "#", "@", "~", "=", "<", ">", "/", "\\", "?", ":", "'", `"`,
	}},
}

// Ensure makes a project of the account, a logstore in it and a full-text index
// exist. What exists is left as it is.
func (h *Handler) Ensure(ctx context.Context, account, project, name string) error {
	if !validProject(project) || !validLogstore(name) {
		return fmt.Errorf("the names %q and %q are not possible for a project and a logstore; use lower-case letters, digits and hyphens, 3 to 63 of them", project, name)
	}
	now := h.Now()
	err := h.Catalog.CreateProject(ctx, catalog.Project{Name: project, Account: account, Created: now, Modified: now})
	if err != nil && !errors.Is(err, catalog.ErrExists) {
		return fmt.Errorf("make the project %s: %w", project, err)
	}
	if _, err := h.Auth.Project(ctx, auth.Caller{Account: catalog.Account{ID: account}}, project); err != nil {
		return fmt.Errorf("the project %s belongs to another account: %w", project, err)
	}
	err = h.makeLogstore(ctx, catalog.Logstore{Project: project, Name: name, TTLDays: DefaultTTLDays, Created: now, Modified: now}, DefaultShards)
	if err != nil && !errors.Is(err, catalog.ErrExists) {
		return fmt.Errorf("make the logstore %s: %w", name, err)
	}
	body, err := json.Marshal(fullText)
	if err != nil {
		return fmt.Errorf("encode the index: %w", err)
	}
	err = h.Catalog.CreateIndex(ctx, project, name, body)
	if err != nil && !errors.Is(err, catalog.ErrExists) {
		return fmt.Errorf("make the index of %s: %w", name, err)
	}
	h.dir.changed()
	return nil
}
