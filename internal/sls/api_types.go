package sls

// Project is a project object of the API.
type Project struct {
	Name           string `json:"projectName"`
	Description    string `json:"description"`
	Status         string `json:"status"` // "Normal"
	Owner          string `json:"owner"`
	Region         string `json:"region"`
	CreateTime     string `json:"createTime"` // unix seconds, as text
	LastModifyTime string `json:"lastModifyTime"`
}

// ProjectList is a page of projects.
type ProjectList struct {
	Projects []Project `json:"projects"`
	Count    int       `json:"count"` // on this page
	Total    int       `json:"total"`
}

// Logstore is a logstore object of the API; fields that are not set are left
// to the server's defaults when one is made.
type Logstore struct {
	Name           string `json:"logstoreName"`
	TTL            int    `json:"ttl"` // days
	ShardCount     int    `json:"shardCount"`
	WebTracking    bool   `json:"enable_tracking"`
	AutoSplit      bool   `json:"autoSplit"`
	MaxSplitShard  int    `json:"maxSplitShard"`
	AppendMeta     bool   `json:"appendMeta"`
	TelemetryType  string `json:"telemetryType"`
	HotTTL         int    `json:"hot_ttl,omitempty"`
	Mode           string `json:"mode,omitempty"` // "standard" (default) or "query"
	ProductType    string `json:"productType,omitempty"`
	CreateTime     int64  `json:"createTime,omitempty"` // unix seconds
	LastModifyTime int64  `json:"lastModifyTime,omitempty"`
}

// LogstoreList is a page of logstore names.
type LogstoreList struct {
	Logstores []string `json:"logstores"`
	Count     int      `json:"count"` // on this page
	Total     int      `json:"total"`
}

// Shard is a shard object of the API.
type Shard struct {
	ID         int    `json:"shardID"`
	Status     string `json:"status"` // "readwrite" or "readonly"
	BeginKey   string `json:"inclusiveBeginKey"`
	EndKey     string `json:"exclusiveEndKey"`
	CreateTime int64  `json:"createTime"` // unix seconds
}

// Index says which fields of a logstore are searched, and how.
type Index struct {
	Keys         map[string]IndexKey `json:"keys,omitempty"`
	Line         *IndexLine          `json:"line,omitempty"` // full text
	TTL          int                 `json:"ttl,omitempty"`  // days
	MaxTextLen   int                 `json:"max_text_len,omitempty"`
	LogReduce    bool                `json:"log_reduce"`
	LogReduceYes []string            `json:"log_reduce_white_list,omitempty"`
	LogReduceNo  []string            `json:"log_reduce_black_list,omitempty"`
}

// IndexKey is the index of one field.
type IndexKey struct {
	Type          string                  `json:"type"`  // "text", "long", "double" or "json"
	Token         []string                `json:"token"` // delimiters of words, for text
	CaseSensitive bool                    `json:"caseSensitive"`
	DocValue      bool                    `json:"doc_value,omitempty"` // analytics
	Alias         string                  `json:"alias,omitempty"`
	Chn           bool                    `json:"chn"` // splits Chinese text
	JSONKeys      map[string]IndexJSONKey `json:"json_keys,omitempty"`
}

// IndexJSONKey is the index of one key within a field of type "json".
type IndexJSONKey struct {
	Type     string `json:"type"`
	Alias    string `json:"alias,omitempty"`
	DocValue bool   `json:"doc_value,omitempty"`
}

// IndexLine is the full-text index.
type IndexLine struct {
	Token         []string `json:"token"` // delimiters of words
	CaseSensitive bool     `json:"caseSensitive"`
	IncludeKeys   []string `json:"include_keys,omitempty"`
	ExcludeKeys   []string `json:"exclude_keys,omitempty"`
	Chn           bool     `json:"chn"`
}

// GetLogsRequest is the body of a query: POST /logstores/{logstore}/logs.
type GetLogsRequest struct {
	From      int64  `json:"from"` // unix seconds, inclusive
	To        int64  `json:"to"`   // unix seconds, exclusive
	Topic     string `json:"topic"`
	Query     string `json:"query"`
	Line      int64  `json:"line"` // most rows; at most 100
	Offset    int64  `json:"offset"`
	Reverse   bool   `json:"reverse"` // newest first
	PowerSQL  bool   `json:"powerSql"`
	FromNs    int32  `json:"fromNs"`
	ToNs      int32  `json:"toNs"`
	Highlight bool   `json:"highlight"`
	Accurate  bool   `json:"accurate,omitempty"`
}

// GetLogsReply is the reply to a query.
type GetLogsReply struct {
	Meta GetLogsMeta         `json:"meta"`
	Logs []map[string]string `json:"data"` // fields and __time__, __source__, __topic__, __tag__:*
}

// ProgressComplete and ProgressIncomplete are the values of a query's progress.
const (
	ProgressComplete   = "Complete"
	ProgressIncomplete = "Incomplete"
)

// GetLogsMeta tells how a query went.
type GetLogsMeta struct {
	Progress           string     `json:"progress"` // ProgressComplete or ProgressIncomplete
	AggQuery           string     `json:"aggQuery"`
	WhereQuery         string     `json:"whereQuery"`
	HasSQL             bool       `json:"hasSQL"`
	ProcessedRows      int64      `json:"processedRows"`
	ProcessedBytes     int64      `json:"processedBytes"`
	ElapsedMillisecond int64      `json:"elapsedMillisecond"`
	CPUSec             float64    `json:"cpuSec"`
	CPUCores           float64    `json:"cpuCores"`
	Limited            int64      `json:"limited"`
	Count              int64      `json:"count"`          // rows in this reply
	TelemetryType      string     `json:"telementryType"` // misspelt in the protocol
	PowerSQL           bool       `json:"powerSql"`
	InsertedSQL        string     `json:"insertedSQL"`
	Keys               []string   `json:"keys,omitempty"`
	Terms              []MetaTerm `json:"terms,omitempty"`
	ColumnTypes        []string   `json:"columnTypes,omitempty"`
	IsAccurate         *bool      `json:"isAccurate,omitempty"`
}

// MetaTerm is a searched word and the field in which it was searched.
type MetaTerm struct {
	Key  string `json:"key"`
	Term string `json:"term"`
}

// GetHistogramsRequest asks for counts over time.
type GetHistogramsRequest struct {
	From, To int64 // unix seconds, To is exclusive
	Topic    string
	Query    string
	Interval int64 // seconds of a bucket; 0 = the server's choice
}

// GetHistogramsReply is the reply to it.
type GetHistogramsReply struct {
	Progress   string
	Count      int64
	Histograms []Histogram
}

// Histogram counts the logs of one interval.
type Histogram struct {
	From     int64  `json:"from"` // unix seconds
	To       int64  `json:"to"`   // exclusive
	Count    int64  `json:"count"`
	Progress string `json:"progress"`
}
