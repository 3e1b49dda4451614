package segment

func (sh *shard) mergeDue() {}
