package http1

// Error says why a message is refused. All values are preallocated; every
// error of this package is an *Error, and == compares them.
type Error struct {
	// Status is what to answer: 400, 414, 417, 431, 501 or 505 for what a client
	// sent, always 502 for what an upstream sent. The connection that it came on must be
	// closed in every case: the end of the message is unknown.
	Status int
	// Reason is one of a closed set of snake_case words, fit for a metric label.
	Reason string
}

// Error is the reason, for logs.
func (e *Error) Error() string { return "http1: " + e.Reason }

// fault is an Error before it is known whose message it was. 0 is none.
type fault uint8

const (
	faultNone fault = iota
	faultRequestLine
	faultMethodLong
	faultConnect
	faultTarget
	faultTargetLong
	faultVersion
	faultVersionUnsupported
	faultStatusLine
	faultBareCR
	faultBareLF
	faultFold
	faultName
	faultNameSpace
	faultValue
	faultFields
	faultHeadLarge
	faultHostMissing
	faultHostDuplicate
	faultHostInvalid
	faultHostMismatch
	faultLengthInvalid
	faultLengthDuplicate
	faultFraming
	faultCodingDuplicate
	faultCodingInvalid
	faultCodingUnknown
	faultCodingVersion
	faultConnection
	faultUpgrade
	faultExpect
	faultChunkSize
	faultChunkExtension
	faultChunkLong
	faultChunkEnd
	faultTrailer
	faultTrailerLarge
	faultCut
	faults
)

// clientErrors are the sentinels, by fault: what to say to a client that sent it.
var clientErrors = [faults]Error{
	faultRequestLine:        {400, "request_line"},
	faultMethodLong:         {501, "method_too_long"}, // RFC 9112 3: longer than any we know
	faultConnect:            {501, "connect"},         // RFC 9110 9.3.6: we are nobody's chosen proxy
	faultTarget:             {400, "target"},
	faultTargetLong:         {414, "target_too_long"}, // RFC 9112 3
	faultVersion:            {400, "version"},
	faultVersionUnsupported: {505, "version_unsupported"},
	faultStatusLine:         {400, "status_line"},
	faultBareCR:             {400, "bare_cr"},          // RFC 9112 2.2
	faultBareLF:             {400, "bare_lf"},          // RFC 9112 2.2 lets one be lenient; no
	faultFold:               {400, "obs_fold"},         // RFC 9112 5.2, and 2.2 before the first field
	faultName:               {400, "field_name"},       // RFC 9110 5.1
	faultNameSpace:          {400, "field_name_space"}, // RFC 9112 5.1
	faultValue:              {400, "field_value"},      // RFC 9110 5.5
	faultFields:             {431, "too_many_fields"},  // RFC 6585 5
	faultHeadLarge:          {431, "head_too_large"},   // RFC 6585 5
	faultHostMissing:        {400, "host_missing"},     // RFC 9112 3.2
	faultHostDuplicate:      {400, "host_duplicate"},
	faultHostInvalid:        {400, "host_invalid"},
	faultHostMismatch:       {400, "host_mismatch"},
	faultLengthInvalid:      {400, "content_length_invalid"},
	faultLengthDuplicate:    {400, "content_length_duplicate"},
	faultFraming:            {400, "content_length_and_transfer_encoding"},
	faultCodingDuplicate:    {400, "transfer_encoding_duplicate"},
	faultCodingInvalid:      {400, "transfer_encoding_invalid"},
	faultCodingUnknown:      {501, "transfer_encoding_unknown"}, // RFC 9112 6.1
	faultCodingVersion:      {400, "transfer_encoding_http10"},  // RFC 9112 6.1
	faultConnection:         {400, "connection_invalid"},
	faultUpgrade:            {400, "upgrade_invalid"},
	faultExpect:             {417, "expect_unknown"}, // RFC 9110 10.1.1
	faultChunkSize:          {400, "chunk_size"},
	faultChunkExtension:     {400, "chunk_extension"},
	faultChunkLong:          {400, "chunk_line_too_long"},
	faultChunkEnd:           {400, "chunk_end"},
	faultTrailer:            {400, "trailer_forbidden"},
	faultTrailerLarge:       {431, "trailers_too_large"},
	faultCut:                {400, "body_cut"},
}

// upstreamErrors are the same, of what an upstream sent (RFC 9110 15.6.3: an
// invalid response is 502).
var upstreamErrors = func() [faults]Error {
	t := clientErrors
	for i := range t {
		t[i].Status = 502
	}
	return t
}()

// toClient is the error for a fault in what a client sent.
func (f fault) toClient() error {
	if f == faultNone {
		return nil
	}
	return &clientErrors[f]
}

// ofUpstream is the error for a fault in what an upstream sent.
func (f fault) ofUpstream() error {
	if f == faultNone {
		return nil
	}
	return &upstreamErrors[f]
}
