package api

import (
	"logtail/internal/delivery"
	"logtail/internal/server/shardlog"
	"logtail/internal/sls"
)

// resumeLanes serves POST /logstores/{logstore}/lanes: an agent takes over its
// lanes and learns how far each one is. Older sessions are fenced from then on.
func (h *Handler) resumeLanes(rq *request) error {
	// On refusals too: without it an agent would take this for a server that
	// knows no ranges, and go on without them.
	rq.w.Header().Set(sls.HeaderDelivery, "1")
	l, err := h.logstore(rq)
	if err != nil {
		return err
	}
	var in sls.ResumeRequest
	if err := rq.decode(&in, "a resume (session, lanes)"); err != nil {
		return err
	}
	if len(in.Lanes) > sls.MaxResumeLanes {
		return invalid("the request names %d lanes; at most %d are taken at a time", len(in.Lanes), sls.MaxResumeLanes)
	}
	if len(in.Attempt) > sls.MaxAttempt {
		return invalid("the attempt has %d bytes; at most %d are taken", len(in.Attempt), sls.MaxAttempt)
	}
	lanes, places := make(map[int][]delivery.LaneID), make(map[int][]int)
	for i, text := range in.Lanes {
		id, err := delivery.ParseLaneID(text)
		if err != nil {
			return invalid("%v", err)
		}
		s, err := l.shardOf(id.String())
		if err != nil {
			return err
		}
		lanes[s.ID], places[s.ID] = append(lanes[s.ID], id), append(places[s.ID], i)
	}
	// A session that was not granted here (the service lost its data) could
	// never be fenced; the agent goes on with a new one.
	out := sls.ResumeReply{Session: in.Session, Incarnation: l.ID, Lanes: make([]sls.LaneProgress, len(in.Lanes))}
	if !h.Sessions.Granted(in.Session) {
		if len(in.Lanes) == 0 {
			in.Attempt = "" // it takes over nothing
		}
		if out.Session, err = h.Sessions.Grant(l.ID, in.Attempt); err != nil {
			return err
		}
	}
	for shard, ids := range lanes {
		s, err := h.Log.Shard(shardlog.Key{Store: l.ID, Shard: shard})
		if err != nil {
			return err
		}
		progress, err := s.Resume(out.Session, ids)
		if err != nil {
			return err
		}
		for i, p := range progress {
			out.Lanes[places[shard][i]] = sls.NewLaneProgress(p)
		}
	}
	return rq.json(out)
}
