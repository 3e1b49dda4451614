// Package send is the last step of the agent: it delivers packages to a
// destination in the order of each lane, never faster and never more at once
// than allowed, and answers every kind of failure by the table of the
// collection process.
package send

import (
	"errors"
	"net/http"

	"logtail/internal/sls"
)

// Class is a kind of failure; it decides what becomes of the packages.
type Class uint8

// The classes of failures, by the table of the collection process.
const (
	Network  Class = iota // no answer, or none of SLS: wait and retry
	Server                // 500 and above: wait and retry
	Quota                 // 403, 429: wait and retry
	Auth                  // 401: refresh the key, wait and retry for a while, then drop
	Clock                 // the request's time is off: learn the server's time, retry at once
	Terminal              // 404 and whatever else will not change: drop after a few tries
)

func (c Class) String() string {
	return [...]string{"network", "server", "quota", "unauthorized", "clock", "refused"}[c]
}

// Classify tells the class of an error of a request. Only an answer of SLS
// itself (error code and request id) can be other than Network: the page of a
// proxy on the way says nothing about the packages.
func Classify(err error) Class {
	var e *sls.Error
	if !errors.As(err, &e) {
		return Network
	}
	switch {
	case e.Code == sls.CodeRequestTimeTooSkewed || e.Code == sls.CodeRequestTimeExpired:
		return Clock
	case e.Status >= http.StatusInternalServerError:
		return Server
	case e.Status == http.StatusForbidden || e.Status == http.StatusTooManyRequests ||
		e.Code == sls.CodeWriteQuotaExceed || e.Code == sls.CodeShardWriteQuotaExceed:
		return Quota
	case e.Status == http.StatusUnauthorized:
		return Auth
	}
	return Terminal
}

// blame says whether a failure is one of the region (network and server errors),
// of the project (its write quota) or of the logstore (that of its shards).
func blame(err error) (b [3]bool) {
	if err == nil {
		return b
	}
	switch Classify(err) {
	case Network, Server:
		b[0] = true
	case Quota:
		var e *sls.Error
		project := errors.As(err, &e) &&
			(e.Code == sls.CodeWriteQuotaExceed || e.Code == sls.CodeProjectQuotaExceed || e.Code == sls.CodeProjectForbidden)
		b[1], b[2] = project, !project
	default:
	}
	return b
}
