package http1

// Limits bound one head. The zero value of a field means its default.
type Limits struct {
	// HeadBytes bounds the head with its last empty line; default 64 KiB. The
	// buffer given to Parse need never be longer than this. Beyond: 431.
	HeadBytes int
	// Fields bounds the number of field lines; default 128. Beyond: 431.
	Fields int
	// TargetBytes bounds the request target; default 8 KiB. Beyond: 414.
	TargetBytes int
}

// Head is the field section of a message: offsets into the buffer that Parse
// was given. What it returns points into that buffer and is valid while its
// bytes are.
type Head struct{ buf []byte }

// Len is the number of field lines.
func (h *Head) Len() int { return 0 }

// Field is the i-th field line, in the order and case as they came; the value
// without the white space around it.
func (h *Head) Field(i int) (name, value []byte) { return nil, nil }

// Header is the value of the field with this lower-case name; false if there
// is none. Values of repeated fields are joined with ", " (RFC 9110 5.3),
// which allocates; a single one is a slice of the buffer.
func (h *Head) Header(lowerName string) ([]byte, bool) { return nil, false }

// Moved says that the bytes of the head now start at buf[0] of another buffer.
func (h *Head) Moved(buf []byte) { h.buf = buf }

// Request is one request head. The zero value is ready for Parse.
type Request struct {
	Head
	// Minor is the client's HTTP/1 minor version: 0 or 1.
	Minor int
	// ContentLength is the Content-Length in bytes; -1: none was sent.
	ContentLength int64
	// Chunked: the body is chunked.
	Chunked bool
	// KeepAlive: the client wants the connection to persist (RFC 9112 9.3).
	KeepAlive bool
	// ExpectContinue: the client waits for 100 (Continue) before it sends the
	// body (RFC 9110 10.1.1). Never set without a body or for HTTP/1.0.
	ExpectContinue bool
	// TETrailers: the client takes trailers (RFC 9110 10.1.4).
	TETrailers bool
}

// Reset makes r ready for the next request; it keeps its memory.
func (r *Request) Reset() {}

// Parse reads a request head from the start of buf. n > 0: the head is complete
// and is the first n bytes. n == 0 and no error: call again with the same bytes
// and more after them, in the same buffer or a moved one; it goes on where it
// was. A nil lim means the defaults. After an error or a complete head call
// Reset before the next Parse.
func (r *Request) Parse(buf []byte, lim *Limits) (n int, err error) { return 0, nil }

// Method is the method as it came (case-sensitive, RFC 9110 9.1). Never CONNECT.
func (r *Request) Method() []byte { return nil }

// Target is the request-target as it came (RFC 9112 3.2): origin-form,
// absolute-form or "*".
func (r *Request) Target() []byte { return nil }

// Path is the target's path without the query, undecoded; "/" where an
// absolute-form has none, "*" for the asterisk-form.
func (r *Request) Path() []byte { return nil }

// Query is what follows the first "?" of the target, undecoded; nil: no "?".
func (r *Request) Query() []byte { return nil }

// Host is the Host field's value, checked (RFC 9110 7.2); nil only for an HTTP/1.0
// request that has none.
func (r *Request) Host() []byte { return nil }

// Upgrade is the Upgrade field's value when the client asks for it with
// Connection: upgrade in HTTP/1.1 (RFC 9110 7.8), else nil. An offer of h2c is
// as if it had not been made.
func (r *Request) Upgrade() []byte { return nil }

// Framing is how the request's body is delimited (RFC 9112 6.3).
func (r *Request) Framing() Framing { return Framing{} }

// Response is one response head. The zero value is ready for Parse.
type Response struct {
	Head
	// Minor is the upstream's HTTP/1 minor version: 0 or 1.
	Minor int
	// ContentLength is the Content-Length that was sent, in bytes; -1: none. For
	// HEAD and 304 it is the length that there would have been.
	ContentLength int64
	// Chunked: Transfer-Encoding: chunked was sent.
	Chunked bool
	// KeepAlive: the upstream keeps the connection after this response's body.
	// Never set when the body ends with the connection.
	KeepAlive bool
}

// Reset makes r ready for the next response; it keeps its memory.
func (r *Response) Reset() {}

// Parse reads a response head; it works like Request.Parse. method is the
// request's; it decides whether there is a body. A 1xx other than 101 is a
// complete head that another one follows: Reset and Parse again.
func (r *Response) Parse(buf []byte, lim *Limits, method []byte) (n int, err error) { return 0, nil }

// Status is the status code, 100 to 999.
func (r *Response) Status() int { return 0 }

// Informational: 1xx and not 101; the final response follows.
func (r *Response) Informational() bool { return false }

// Upgrade is the Upgrade field's value of a 101 (never empty there), else nil.
func (r *Response) Upgrade() []byte { return nil }

// Framing is how the response's body is delimited (RFC 9112 6.3): None for
// 1xx, 204, 304 and answers to HEAD, whatever the fields say.
func (r *Response) Framing() Framing { return Framing{} }

// FramingFor is the framing to send the body on with, to a client of this
// HTTP/1 minor version: as it came, except that a client of HTTP/1.0 gets
// UntilClose for Chunked and one of HTTP/1.1 gets Chunked for UntilClose, so
// that a cut upstream cannot pass for the end of the body.
func (r *Response) FramingFor(clientMinor int) Framing { return Framing{} }

// FramingKind says how the end of a body is known.
type FramingKind uint8

const (
	// None: there is no body.
	None FramingKind = iota
	// Fixed: Length bytes, which may be 0.
	Fixed
	// Chunked: RFC 9112 7.1.
	Chunked
	// UntilClose: all until the peer closes; responses only.
	UntilClose
)

// Framing is how the end of a body is known.
type Framing struct {
	Kind FramingKind
	// Length in bytes; only with Fixed.
	Length int64

	fromUpstream bool // faults are 502, not 400
}

// Body takes a message body out of its framing. The zero value is a body that
// is done; Start it for each message.
type Body struct{}

// Start makes b ready for a body with this framing, from the Framing method of
// the message's head; it keeps its memory.
func (b *Body) Start(f Framing) {}

// Next takes n bytes from the start of buf and gives the body bytes among them
// as one span of buf. Chunks are moved together in place, so the consumed
// part of buf is overwritten: use data, then discard buf[:n]. Bytes after the
// body are left alone (n < len(buf)); before that, all of buf is consumed, so the
// caller need never keep a part of the framing.
// An error comes with the data before it, and is final.
func (b *Body) Next(buf []byte) (data []byte, n int, err error) { return nil, 0, nil }

// Done: the body is complete, its trailers too.
func (b *Body) Done() bool { return true }

// EOF tells b that the peer closed. Nil: the body is complete (UntilClose, or it
// was done before); an error: it was cut.
func (b *Body) EOF() error { return nil }

// Remaining is how many body bytes are still to come for Fixed, so that the
// caller can splice or size its reads; -1 when unknown.
func (b *Body) Remaining() int64 { return 0 }

// Trailers are the trailer fields, once Done; they live in b's memory until
// Start. Fields of framing, routing and connections never get here.
func (b *Body) Trailers() *Head { return nil }

// MaxChunkHead is the most bytes that AppendChunkHead appends.
const MaxChunkHead = 18

// AppendChunkHead appends the line before a chunk of size bytes (> 0). After the
// chunk's data goes CRLF.
func AppendChunkHead(dst []byte, size int) []byte { return dst }

// AppendLastChunk appends the end of a chunked body: the chunk of size 0, the trailers
// (nil: none) and the empty line.
func AppendLastChunk(dst []byte, trailers *Head) []byte { return dst }

// EditKind says what an Edit does.
type EditKind uint8

const (
	// Set replaces all fields of the name by one.
	Set EditKind = iota
	// Add appends one field.
	Add
	// Remove drops all fields of the name.
	Remove
)

// Edit is one change to a head's fields; later edits see the result of earlier
// ones. An edit is ignored when its name is one that framing and the connection own
// (Connection, Content-Length, Transfer-Encoding, Upgrade, TE, Keep-Alive,
// Proxy-Connection), or when name or value could not be sent (so policy can
// never inject a line). Set on Host replaces the host, Add and Remove of it are
// ignored.
type Edit struct {
	Kind        EditKind
	Name, Value string
}

// RequestHead says what AppendHead changes on the way to the upstream. The
// zero value sends Framing None and keeps the rest.
type RequestHead struct {
	// Target replaces the target, in origin-form, path and query; nil: the
	// request's own, turned into origin-form (RFC 9112 3.2.1).
	Target []byte
	// Host replaces the Host; nil: the request's own.
	Host []byte
	// Framing of the body as it is sent: Request.Framing, or another when the
	// caller re-frames.
	Framing Framing
	// Close asks the upstream to close after its response.
	Close bool
	// Upgrade passes the request's Upgrade on.
	Upgrade bool
	// Edits are applied in order.
	Edits []Edit
}

// AppendHead appends the head to send upstream, as HTTP/1.1: fields that nobody
// changes byte for byte as they came and in their order, without those of the
// client's connection (RFC 9110 7.6.1) and those that its Connection names, then ours.
func (r *Request) AppendHead(dst []byte, o *RequestHead) []byte { return dst }

// ResponseHead says what AppendHead changes on the way to the client.
type ResponseHead struct {
	// Framing of the body as it is sent, from FramingFor.
	Framing Framing
	// ClientMinor is the client's HTTP/1 minor version.
	ClientMinor int
	// Close tells the client that the connection closes after this response.
	Close bool
	// Edits are applied in order.
	Edits []Edit
}

// AppendHead appends the head to send to the client, as HTTP/1.1; fields are
// treated as by Request.AppendHead. A 101 keeps its Upgrade. An answer to HEAD and
// a 304 keep the length that they declare.
func (r *Response) AppendHead(dst []byte, o *ResponseHead) []byte { return dst }

// AppendStatusLine appends "HTTP/1.1 503 Service Unavailable" CRLF, for answers of our own.
func AppendStatusLine(dst []byte, status int) []byte { return dst }

// AppendField appends one field line. name and value must be valid: see ValidName, ValidValue.
func AppendField(dst []byte, name, value string) []byte { return dst }

// ValidName: name is a field name (RFC 9110 5.1, a token).
func ValidName(name string) bool { return false }

// ValidValue: value can be sent as a field value: no control bytes but tab, no
// space around it (RFC 9110 5.5).
func ValidValue(value string) bool { return false }
