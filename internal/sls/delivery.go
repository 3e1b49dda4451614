package sls

import "logtail/internal/delivery"

// HeaderDelivery is "1" in the reply to a resume, and to a PutLogs that carried
// ranges, of a server that does compare and append.
const HeaderDelivery = "x-log-delivery"

// MaxResumeLanes is the most lanes that one resume may list.
const MaxResumeLanes = 10_000

// MaxAttempt is the longest ResumeRequest.Attempt, in bytes.
const MaxAttempt = 64

// ResumeRequest is the body of POST /logstores/{logstore}/lanes: the agent
// takes over the lanes and asks how far each one is.
type ResumeRequest struct {
	Session uint64 `json:"session,string"` // 0: grant one
	// Attempt is the same where a resume is tried again, of which no answer came: the
	// same session is granted then. So a request that something on the way repeats or
	// delivers late does not fence the session of the next one. "": none.
	Attempt string   `json:"attempt,omitempty"`
	Lanes   []string `json:"lanes"` // delivery.LaneID.String of each, at most MaxResumeLanes
}

// LaneProgress is what the server knows of a lane.
type LaneProgress struct {
	Known  bool   `json:"known"`
	End    uint64 `json:"end,string"`
	Hash   uint64 `json:"hash,string"` // delivery.TailHash before End; 0 = not known
	State  []byte `json:"state,omitempty"`
	Closed bool   `json:"closed,omitempty"`
}

// NewLaneProgress translates a progress; nil is a lane that is not known.
func NewLaneProgress(p *delivery.Progress) LaneProgress {
	if p == nil {
		return LaneProgress{}
	}
	return LaneProgress{Known: true, End: p.End, Hash: p.Hash, State: p.State, Closed: p.Closed}
}

// ResumeReply answers a ResumeRequest.
type ResumeReply struct {
	Session     uint64         `json:"session,string"` // to be sent in the ranges of the lanes
	Incarnation string         `json:"incarnation"`    // of the logstore; another one means it was deleted and made again
	Lanes       []LaneProgress `json:"lanes"`          // in the order of the request
}

// ActionError is the PutResult.Action of a package that was not decided on
// because of an error; Code and Message tell it.
const ActionError = "error"

// PutResult is what became of one package of a PutLogs with ranges.
type PutResult struct {
	Action   string        `json:"action"`             // delivery.Action.String, or ActionError
	Code     string        `json:"code,omitempty"`     // an error code, only with ActionError
	Message  string        `json:"message,omitempty"`  // only with ActionError
	Progress *LaneProgress `json:"progress,omitempty"` // of the lane, for refusals
}

// PutReply is the JSON body of the reply to a PutLogs whose packages carried
// ranges.
type PutReply struct {
	Results []PutResult `json:"results"` // one per package, in order
}
