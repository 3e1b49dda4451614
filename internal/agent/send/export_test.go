package send

// OneByOne makes the lanes of a request go one after the other, so that tests know
// the order of what happens.
func (t *Seq) OneByOne() { t.parallel = 1 }
