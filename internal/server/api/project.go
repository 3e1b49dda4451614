package api

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"logtail/internal/server/auth"
	"logtail/internal/server/catalog"
	"logtail/internal/sls"
)

const (
	mostProjects   = 500 // on a page of the list
	maxDescription = 1024
)

// createProject serves POST /. Some clients send it to the project's host,
// others to the bare endpoint; the name is in the body in any case.
func (h *Handler) createProject(rq *request) error {
	var in struct {
		Name        string `json:"projectName"`
		Description string `json:"description"`
	}
	if err := rq.decode(&in, "a project (projectName, description)"); err != nil {
		return err
	}
	if in.Name == "" {
		in.Name = rq.project
	}
	if !validProject(in.Name) {
		return invalid("the project name %q is not possible; use 3 to 63 lower-case letters, digits and hyphens, no hyphen at the ends", in.Name)
	}
	if err := checkDescription(in.Description); err != nil {
		return err
	}
	err := h.Catalog.CreateProject(rq.ctx(), catalog.Project{
		Name: in.Name, Account: rq.caller.Account.ID, Description: in.Description, Created: rq.now, Modified: rq.now,
	})
	if errors.Is(err, catalog.ErrExists) {
		return sls.NewError(sls.CodeProjectAlreadyExist, "the project %q exists already; choose another name", in.Name)
	}
	if err != nil {
		return err
	}
	h.dir.changed()
	return rq.ok()
}

// getOrListProjects serves GET /: the project of the host name, or on the bare
// endpoint the list of the caller's projects.
func (h *Handler) getOrListProjects(rq *request) error {
	if rq.project != "" {
		p, err := h.Auth.Project(rq.ctx(), rq.caller, rq.project)
		if err != nil {
			return err
		}
		return rq.json(projectObject(p))
	}
	offset, size, err := page(rq, mostProjects)
	if err != nil {
		return err
	}
	list, total, err := h.Catalog.Projects(rq.ctx(), rq.caller.Account.ID,
		catalog.Page{Offset: offset, Size: size, Contains: rq.r.URL.Query().Get("projectName")})
	if err != nil {
		return err
	}
	out := sls.ProjectList{Projects: make([]sls.Project, 0, len(list)), Count: len(list), Total: total}
	for _, p := range list {
		out.Projects = append(out.Projects, projectObject(p))
	}
	return rq.json(out)
}

func (h *Handler) updateProject(rq *request) error {
	var in struct {
		Description string `json:"description"`
	}
	if err := rq.decode(&in, "a project (description)"); err != nil {
		return err
	}
	if err := checkDescription(in.Description); err != nil {
		return err
	}
	if err := h.Catalog.UpdateProject(rq.ctx(), rq.project, in.Description); err != nil {
		return h.projectGone(rq, err)
	}
	return rq.ok()
}

// deleteProject serves DELETE /. As in SLS, the logstores of the project go
// with it.
func (h *Handler) deleteProject(rq *request) error {
	defer h.dir.changed()
	for {
		err := h.Catalog.DeleteProject(rq.ctx(), rq.project)
		if err == nil {
			return rq.ok()
		}
		if !errors.Is(err, catalog.ErrNotEmpty) {
			return h.projectGone(rq, err)
		}
		names, _, err := h.Catalog.Logstores(rq.ctx(), rq.project, catalog.Page{Size: mostLogstores})
		if err != nil {
			return h.projectGone(rq, err)
		}
		for _, name := range names {
			// One that was deleted by somebody else meanwhile is fine.
			if err := h.dropLogstore(rq.ctx(), rq.project, name); err != nil && !errors.Is(err, catalog.ErrNotFound) {
				return err
			}
		}
		// In case somebody makes logstores as fast as they are deleted.
		if err := rq.ctx().Err(); err != nil {
			return err
		}
	}
}

func (h *Handler) projectGone(rq *request, err error) error {
	return notFound(err, auth.ProjectNotExist(rq.project))
}

func checkDescription(s string) error {
	if len(s) > maxDescription || !utf8.ValidString(s) {
		return invalid("the description has to be UTF-8 text of at most %d bytes", maxDescription)
	}
	return nil
}

func projectObject(p catalog.Project) sls.Project {
	return sls.Project{
		Name: p.Name, Description: p.Description, Status: "Normal", Owner: p.Account,
		CreateTime:     strconv.FormatInt(p.Created.Unix(), 10),
		LastModifyTime: strconv.FormatInt(p.Modified.Unix(), 10),
	}
}
