package sls

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"logtail/internal/delivery"
)

var errSkeleton = errors.New("sls: being written")

type CompressType uint8

const (
	CompressNone    CompressType = 0
	CompressDeflate CompressType = 1
	CompressLZ4     CompressType = 2
	CompressZstd    CompressType = 3
)

func (t CompressType) String() string                                         { return "" }
func ParseCompressType(s string) (CompressType, error)                        { return 0, errSkeleton }
func AppendLog(dst []byte, sec uint32, nsec int32, contents []Content) []byte { return dst }
func AppendTopic(dst []byte, v string) []byte                                 { return dst }
func AppendSource(dst []byte, v string) []byte                                { return dst }
func AppendMachineUUID(dst []byte, v string) []byte                           { return dst }
func AppendTag(dst []byte, key, value string) []byte                          { return dst }
func (g *LogGroup) Decode(b []byte, lim Limits) error                         { return errSkeleton }
func (g *LogGroup) AppendTo(dst []byte) []byte                                { return dst }
func AppendLogGroupListEntry(dst, group []byte) []byte                        { return dst }
func DecodeLogGroupList(b []byte, lim Limits) ([]LogGroup, error)             { return nil, errSkeleton }

type Limits struct{ MaxRaw, MaxLogs, MaxContents, MaxFields, MaxTags, MaxKey, MaxValue, MaxPackages int }

var DefaultLimits Limits

type Package struct {
	Data     []byte
	RawSize  int
	Compress CompressType
	Range    *delivery.Range
}

func AppendPackage(dst []byte, p *Package) []byte            { return dst }
func DecodePackages(b []byte, lim Limits) ([]Package, error) { return nil, errSkeleton }

type Compressor struct{ _ int }

func (c *Compressor) Append(dst, src []byte, t CompressType) ([]byte, error) { return nil, errSkeleton }

func Decompress(dst, src []byte, t CompressType, rawSize, maxSize int) ([]byte, error) {
	return nil, errSkeleton
}

type (
	Credentials struct{ AccessKeyID, AccessKeySecret, SecurityToken string }
	Signer      struct {
		Credentials
		Region string
		Now    func() time.Time
	}
)

func (s *Signer) Sign(req *http.Request, body []byte) error { return errSkeleton }

type KeyLookup func(ctx context.Context, accessKeyID string) (secret string, err error)

var ErrUnknownKey = errors.New("sls: the access key is not known or is disabled")

func Verify(r *http.Request, body []byte, lookup KeyLookup, now time.Time, skew time.Duration) (accessKeyID string, err error) {
	return "", errSkeleton
}

var ErrNetwork = errors.New("sls: no answer of the service")

type ClientOptions struct {
	Endpoint string
	Signer
	UserAgent string
	Timeout   time.Duration
	TLS       *tls.Config
	MaxConns  int
}
type Client struct{ _ int }

func NewClient(o ClientOptions) (*Client, error) { return nil, errSkeleton }
func (c *Client) Clock() time.Duration           { return 0 }
func (c *Client) SetCredentials(cr Credentials)  {}
func (c *Client) PutPackages(ctx context.Context, project, logstore string, body []byte) (*PutReply, error) {
	return nil, errSkeleton
}

func (c *Client) PutLogGroup(ctx context.Context, project, logstore string, raw []byte, t CompressType) error {
	return errSkeleton
}

func (c *Client) Resume(ctx context.Context, project, logstore string, r ResumeRequest) (*ResumeReply, bool, error) {
	return nil, false, errSkeleton
}

func (c *Client) GetLogs(ctx context.Context, project, logstore string, q GetLogsRequest) (*GetLogsReply, error) {
	return nil, errSkeleton
}

func (c *Client) GetHistograms(ctx context.Context, project, logstore string, q GetHistogramsRequest) (*GetHistogramsReply, error) {
	return nil, errSkeleton
}

func (c *Client) GetCursor(ctx context.Context, project, logstore string, shard int, from string) (string, error) {
	return "", errSkeleton
}

func (c *Client) PullLogs(ctx context.Context, project, logstore string, shard int, cursor string, count int) (groups []LogGroup, next string, err error) {
	return nil, "", errSkeleton
}

func (c *Client) ListShards(ctx context.Context, project, logstore string) ([]Shard, error) {
	return nil, errSkeleton
}

func (c *Client) CreateProject(ctx context.Context, project, description string) error {
	return errSkeleton
}

func (c *Client) GetProject(ctx context.Context, project string) (*Project, error) {
	return nil, errSkeleton
}

func (c *Client) ListProjects(ctx context.Context, offset, size int) (*ProjectList, error) {
	return nil, errSkeleton
}
func (c *Client) DeleteProject(ctx context.Context, project string) error { return errSkeleton }
func (c *Client) CreateLogstore(ctx context.Context, project string, l Logstore) error {
	return errSkeleton
}

func (c *Client) GetLogstore(ctx context.Context, project, logstore string) (*Logstore, error) {
	return nil, errSkeleton
}

func (c *Client) UpdateLogstore(ctx context.Context, project string, l Logstore) error {
	return errSkeleton
}

func (c *Client) ListLogstores(ctx context.Context, project string, offset, size int) (*LogstoreList, error) {
	return nil, errSkeleton
}

func (c *Client) DeleteLogstore(ctx context.Context, project, logstore string) error {
	return errSkeleton
}

func (c *Client) CreateIndex(ctx context.Context, project, logstore string, ix *Index) error {
	return errSkeleton
}

func (c *Client) GetIndex(ctx context.Context, project, logstore string) (*Index, error) {
	return nil, errSkeleton
}

func (c *Client) UpdateIndex(ctx context.Context, project, logstore string, ix *Index) error {
	return errSkeleton
}

func (c *Client) DeleteIndex(ctx context.Context, project, logstore string) error { return errSkeleton }
