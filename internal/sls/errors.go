package sls

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Names of the headers of the protocol.
const (
	HeaderAPIVersion      = "x-log-apiversion"
	HeaderBodyRawSize     = "x-log-bodyrawsize" // bytes of the body before compression
	HeaderCompressType    = "x-log-compresstype"
	HeaderContentSHA256   = "x-log-content-sha256"
	HeaderCount           = "x-log-count"
	HeaderCursor          = "x-log-cursor"
	HeaderDate            = "x-log-date"
	HeaderMode            = "x-log-mode" // ModeBatchGroup for a package list
	HeaderProgress        = "x-log-progress"
	HeaderProject         = "x-log-project"
	HeaderRequestID       = "x-log-requestid"
	HeaderSecurityToken   = "x-acs-security-token"
	HeaderSignatureMethod = "x-log-signaturemethod"
	HeaderTime            = "x-log-time" // the server's clock, unix seconds
)

// Values of headers.
const (
	APIVersion     = "0.6.0"
	ModeBatchGroup = "batch_group"
	ContentTypePB  = "application/x-protobuf"
	contentJSON    = "application/json"
)

// Error codes of SLS. Clients decide by the exact spelling: an agent, for
// instance, keeps what was refused with ServerBusy and drops, after five tries,
// what was refused with LogStoreNotExist.
const (
	CodeBadRequest                = "BadRequest"
	CodeConfigAlreadyExist        = "ConfigAlreadyExist"
	CodeConfigNotExist            = "ConfigNotExist"
	CodeConsumerGroupAlreadyExist = "ConsumerGroupAlreadyExist"
	CodeConsumerGroupNotExist     = "ConsumerGroupNotExist"
	CodeGroupAlreadyExist         = "GroupAlreadyExist"
	CodeGroupNotExist             = "GroupNotExist"
	CodeIndexAlreadyExist         = "IndexAlreadyExist"
	CodeIndexConfigNotExist       = "IndexConfigNotExist"
	CodeInternalServerError       = "InternalServerError"
	CodeInvalidAPIVersion         = "InvalidAPIVersion"
	CodeInvalidBodyRawSize        = "InvalidBodyRawSize"
	CodeInvalidCompressType       = "InvalidCompressType"
	CodeInvalidContentType        = "InvalidContentType"
	CodeInvalidCursor             = "InvalidCursor"
	CodeInvalidDateFormat         = "InvalidDateFormat"
	CodeInvalidEncoding           = "InvalidEncoding"
	CodeInvalidKey                = "InvalidKey"
	CodeInvalidLine               = "InvalidLine"
	CodeInvalidLogStoreQuery      = "InvalidLogStoreQuery"
	CodeInvalidMethod             = "OLSInvalidMethod"
	CodeInvalidOffset             = "InvalidOffset"
	CodeInvalidParameter          = "InvalidParameter"
	CodeInvalidQueryString        = "InvalidQueryString"
	CodeInvalidReverse            = "InvalidReverse"
	CodeInvalidSequenceID         = "InvalidSequenceId"
	CodeInvalidSignatureMethod    = "InvalidSignatureMethod"
	CodeInvalidTimeRange          = "InvalidTimeRange"
	CodeInvalidTimestamp          = "InvalidTimestamp"
	CodeLogStoreAlreadyExist      = "LogStoreAlreadyExist"
	CodeLogStoreNotExist          = "LogStoreNotExist"
	CodeLogStoreWithoutShard      = "LogStoreWithoutShard"
	CodeLogstoreInfoInvalid       = "LogstoreInfoInvalid"
	CodeMachineGroupAlreadyExist  = "MachineGroupAlreadyExist"
	CodeMachineGroupNotExist      = "MachineGroupNotExist"
	CodeMissAccessKeyID           = "MissAccessKeyId"
	CodeMissingAPIVersion         = "MissingAPIVersion"
	CodeMissingBodyRawSize        = "MissingBodyRawSize"
	CodeMissingContentLength      = "MissingContentLength"
	CodeMissingContentType        = "MissingContentType"
	CodeMissingDate               = "MissingDate"
	CodeMissingHost               = "MissingHost"
	CodeMissingSignatureMethod    = "MissingSignatureMethod"
	CodeNotSupported              = "NotSupported"
	CodeParameterInvalid          = "ParameterInvalid"
	CodePostBodyInvalid           = "PostBodyInvalid"
	CodePostBodyTooLarge          = "PostBodyTooLarge"
	CodePostBodyUncompressError   = "PostBodyUncompressError"
	CodeProjectAlreadyExist       = "ProjectAlreadyExist"
	CodeProjectForbidden          = "ProjectForbidden"
	CodeProjectNotExist           = "ProjectNotExist"
	CodeProjectQuotaExceed        = "ProjectQuotaExceed"
	CodeReadQuotaExceed           = "ReadQuotaExceed"
	CodeRequestTimeExpired        = "RequestTimeExpired"
	CodeRequestTimeTooSkewed      = "RequestTimeTooSkewed"
	CodeRequestTimeout            = "RequestTimeout"
	CodeServerBusy                = "ServerBusy"
	CodeShardNotExist             = "ShardNotExist"
	CodeShardReadQuotaExceed      = "ShardReadQuotaExceed"
	CodeShardWriteQuotaExceed     = "ShardWriteQuotaExceed"
	CodeShipperNotExist           = "ShipperNotExist"
	CodeSignatureNotMatch         = "SignatureNotMatch"
	CodeUnauthorized              = "Unauthorized"
	CodeWriteQuotaExceed          = "WriteQuotaExceed"
)

// IsRepeated says whether a write with a sequence number was refused because
// logs are stored under that number already. Documents spell the code in two ways.
func (e *Error) IsRepeated() bool {
	return e.Code == CodeInvalidSequenceID || e.Code == "SequenceIdInvalid"
}

// StatusOf returns the HTTP status that SLS sends with a code: 400 unless the
// code is one of those that have another.
func StatusOf(code string) int {
	switch code {
	case CodeUnauthorized, CodeSignatureNotMatch:
		return http.StatusUnauthorized
	case CodeWriteQuotaExceed, CodeShardWriteQuotaExceed, CodeReadQuotaExceed, CodeShardReadQuotaExceed,
		CodeProjectForbidden, CodeProjectQuotaExceed:
		return http.StatusForbidden
	case CodeProjectNotExist, CodeLogStoreNotExist, CodeShardNotExist, CodeLogStoreWithoutShard,
		CodeIndexConfigNotExist, CodeConfigNotExist, CodeGroupNotExist, CodeMachineGroupNotExist,
		CodeConsumerGroupNotExist, CodeShipperNotExist:
		return http.StatusNotFound
	case CodeInvalidMethod:
		return http.StatusMethodNotAllowed
	case CodeMissingContentLength:
		return http.StatusLengthRequired
	case CodeInvalidContentType:
		return http.StatusUnsupportedMediaType
	case CodeInternalServerError, CodeRequestTimeout:
		return http.StatusInternalServerError
	case CodeServerBusy:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// Error is an answer of the service that is not a success.
type Error struct {
	Status    int    // HTTP status
	Code      string // one of the Code constants
	Message   string // for people
	RequestID string // of the request that failed
}

// NewError makes an error with the status of its code.
func NewError(code, format string, args ...any) *Error {
	return &Error{Status: StatusOf(code), Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error tells code, status, request and message in a line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	fmt.Fprintf(&b, " (status %d", e.Status)
	if e.RequestID != "" {
		b.WriteString(", request " + e.RequestID)
	}
	b.WriteString(")")
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// AsError finds the *Error in err's chain.
func AsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// NewRequestID returns a fresh random id, 24 hex digits as SLS has them.
func NewRequestID() string {
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails on supported systems
	}
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// errorBody is the JSON of an error reply.
type errorBody struct {
	Code    string `json:"errorCode"`
	Message string `json:"errorMessage"`
}

// WriteError answers a request with e. The reply always has an
// x-log-requestid: e.RequestID, else what the handler has set already, else a
// fresh one; agents treat an answer without it as no answer at all.
func WriteError(w http.ResponseWriter, e *Error) {
	body, err := json.Marshal(errorBody{Code: e.Code, Message: e.Message})
	if err != nil {
		panic(err) // two strings always marshal
	}
	h := w.Header()
	if e.RequestID != "" {
		h.Set(HeaderRequestID, e.RequestID)
	} else if h.Get(HeaderRequestID) == "" {
		h.Set(HeaderRequestID, NewRequestID())
	}
	h.Set("Content-Type", contentJSON)
	status := e.Status
	if status < 400 || status > 599 {
		status = StatusOf(e.Code)
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client went away: nobody is left to tell
}
