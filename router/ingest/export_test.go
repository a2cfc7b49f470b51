package ingest

// DecodeHeader is the decoding of one ce- header.
var DecodeHeader = decodeHeader

// SNSTransport is what fetches certificates unless told otherwise.
var SNSTransport = newSNSTransport
