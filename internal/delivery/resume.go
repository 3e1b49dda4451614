package delivery

// Point is a place in a stream from which a reader can go on.
type Point struct {
	End   uint64 // offset in raw bytes
	Hash  uint64 // TailHash before End; 0 = not known
	State []byte // reader state at End, at most MaxState bytes
}

// Checkpoint is what the agent keeps of a lane: everything below Point is
// acknowledged, durable in the disk buffer, or dropped by a counted rule.
type Checkpoint struct {
	Point
	// Incarnation of the logstore that acknowledged; "" before the first contact.
	Incarnation string
	// AbandonedFrom is below End while [AbandonedFrom, End) was dropped by rule
	// and the server has not been told yet; else it equals End.
	AbandonedFrom   uint64
	AbandonedReason Reason
}

// Plan is where a lane goes on after a resume.
type Plan struct {
	Point
	// Claim: the first range must carry the flag Claim, as the server does not
	// know the lane and the place is above 0.
	Claim bool
	// NewStream: the server's progress belongs to other content (a copied
	// state, a rolled-back machine). The lane goes on under a new stream id.
	NewStream bool
	// Forgotten: the server knew this lane once and does not any more.
	Forgotten bool
	// Behind: the server stands below the checkpoint (it was restored from an
	// older copy, or ranges were dropped by rule while it did not answer). The
	// lane goes on from the server's progress: what the agent cannot read any
	// more is sent as abandoned.
	Behind bool
	// AbandonFrom is below Point.End where [AbandonFrom, Point.End) was dropped
	// by rule and is still to be told; else it equals Point.End.
	AbandonFrom uint64
	// MadeAgain: the logstore was deleted and made again since the last contact.
	MadeAgain bool
}

// Resume agrees with the server where a lane goes on. p is the server's
// progress, nil if the lane is not known there. holds says whether the agent's
// own content has the given hash before the given offset; it is asked where
// the two differ, so that the agent never skips bytes that the server got from
// somebody else.
func Resume(c Checkpoint, p *Progress, incarnation string, holds func(end, hash uint64) bool) Plan {
	plan := Plan{Point: c.Point, AbandonFrom: c.End}
	plan.MadeAgain = c.Incarnation != "" && c.Incarnation != incarnation
	if p == nil {
		plan.Claim = c.End > 0
		plan.Forgotten = c.Incarnation != "" && !plan.MadeAgain && c.End > 0
		return plan
	}
	switch {
	case p.End == c.End && (p.Hash == 0 || c.Hash == 0 || p.Hash == c.Hash):
	case p.End < c.End && p.End >= c.AbandonedFrom:
		plan.AbandonFrom = p.End
	case p.End == c.End || !holds(p.End, p.Hash):
		plan.NewStream, plan.Claim = true, c.End > 0
	default:
		plan.Behind = p.End < c.End
		plan.Point = Point{End: p.End, Hash: p.Hash, State: p.State}
		plan.AbandonFrom = p.End
	}
	return plan
}

// Reaction is what the agent does about a server's answer to a range.
type Reaction uint8

// The reactions to the actions of compare and append.
const (
	Accept    Reaction = iota // the checkpoint moves to the end of the range
	Rewind                    // read again from the server's progress; abandon what is gone
	ResumeNow                 // ask the server again where the lane stands
	NewStream                 // go on from the checkpoint under a new stream id, with an alarm
	Stop                      // another agent owns the lane; stop sending it, with an alarm
)

// React says how the agent answers an action.
func React(a Action) Reaction {
	switch a {
	case Append, Trim, Duplicate:
		return Accept
	case Hole:
		return Rewind
	case Unknown:
		return ResumeNow
	case Foreign:
		return NewStream
	}
	return Stop
}
