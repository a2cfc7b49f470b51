package http

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// minKey is the least length of a key in bytes.
const minKey = 16

// parseSecret returns the key: what whsec_ is the base64 of, or else the bytes
// of the text.
func parseSecret(text string) ([]byte, error) {
	key := []byte(text)
	if encoded, ok := strings.CutPrefix(text, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("what follows whsec_ is not base64")
		}
	}
	if len(key) < minKey {
		return nil, fmt.Errorf("the key has %d bytes, at least %d are needed", len(key), minKey)
	}
	return key, nil
}

// sign adds the time and the signature of this attempt.
// (Standard Webhooks 1.0.0, "Signature scheme".)
func (a *Action) sign(h http.Header, id string, body []byte) {
	at := strconv.FormatInt(a.now().Unix(), 10)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", signature(a.key, id, at, body))
}

// signature is v1,BASE64(HMAC-SHA256(key, id.timestamp.body)).
func signature(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
