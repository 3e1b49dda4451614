package api

import (
	"context"
	"errors"
	"net/http"

	"logtail/internal/server/catalog"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// fail answers with an error. What is not an *sls.Error is the service's own
// fault: the client is told the request id, the log has the cause.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := answerOf(err)
	if e.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		h.Logger.Error("request failed", "request", w.Header().Get(sls.HeaderRequestID),
			"method", r.Method, "path", r.URL.Path, "code", e.Code, "error", err)
	}
	limitWrite(w, 0)
	sls.WriteError(w, e)
}

// answerOf translates an error of the seams into one of the API. It is the one
// place that decides which errors clients see as worth another try.
func answerOf(err error) *sls.Error {
	if e, ok := sls.AsError(err); ok {
		return e
	}
	switch {
	case errors.Is(err, shardlog.ErrNoSpace):
		return sls.NewError(sls.CodeServerBusy,
			"the disk of the log service is full: nothing of the request was stored; free space on it, clients send again by themselves")
	case errors.Is(err, shardlog.ErrClosed):
		// Either the service stops or the logstore was just deleted; the next
		// try finds out which.
		return sls.NewError(sls.CodeServerBusy, "the logstore is not open at the moment; try again")
	case errors.Is(err, context.DeadlineExceeded):
		return sls.NewError(sls.CodeServerBusy, "the request took too long; try again, or ask for less at a time")
	case errors.Is(err, context.Canceled):
		return sls.NewError(sls.CodeRequestTimeout, "the request was given up before it was done; try again")
	}
	return sls.NewError(sls.CodeInternalServerError, "the service failed on this request; its log has the cause")
}

func logstoreNotExist(project, name string) *sls.Error {
	return sls.NewError(sls.CodeLogStoreNotExist, "the logstore %q does not exist in the project %q; create it first", name, project)
}

// notFound puts answer in the place of catalog.ErrNotFound and leaves other
// errors alone.
func notFound(err error, answer *sls.Error) error {
	if errors.Is(err, catalog.ErrNotFound) {
		return answer
	}
	return err
}

// invalid is a ParameterInvalid.
func invalid(format string, args ...any) *sls.Error {
	return sls.NewError(sls.CodeParameterInvalid, format, args...)
}
