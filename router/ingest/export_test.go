package ingest

// DecodeHeader is the decoding of one ce- header.
var DecodeHeader = decodeHeader
