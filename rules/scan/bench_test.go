package scan_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pointsman/pointsman/rules/scan"
)

// texts are 64 events of each of some shapes, about 1.2 KB long.
func texts(shape string) [][]byte {
	out := make([][]byte, 64)
	for k := range out {
		var data strings.Builder
		switch shape {
		case "device":
			for f := range 10 {
				fmt.Fprintf(&data, `"f%d":"v%d",`, f, k+f)
			}
			fmt.Fprintf(&data, `"site":"s%d","role":"r%d","status":"active","name":"d%d","cpu":%d,"fqdn":"sw%d.example.net",`, k, k%8, k, k%100, k)
			data.WriteString(`"text":"Nov 23 10:00:00 host daemon[77]: unit 7 failed with result exit-code, see the journal","tags":["core","x"],` +
				`"prechange":{"status":"planned","tags":[],"custom":{"owner":"ops","rack":"r12"}},"postchange":{"status":"active","tags":["a"]},` +
				`"interfaces":[{"name":"eth0","speed":10000,"up":true,"mac":"00:53:00:00:00:01"},{"name":"eth1","speed":10000,"up":false},` +
				`{"name":"eth2","speed":1000,"up":true,"mac":"00:53:00:00:00:03"}],"note":"caf\u00e9 \u2013 second floor, behind the printer",` +
				`"url":"https://netbox.example.net/api/dcim/devices/7/","display":"switch in the hall, second row, third rack from the door"`)
		case "numbers":
			data.WriteString(`"series":[0`)
			for i := range 110 {
				fmt.Fprintf(&data, ",%d.%d", i*k, i*7919%1000)
			}
			data.WriteByte(']')
		case "text":
			fmt.Fprintf(&data, `"line":"%s"`, strings.Repeat(fmt.Sprintf("the unit %d has failed; ", k), 48))
		case "umlauts":
			fmt.Fprintf(&data, `"line":"%s"`, strings.Repeat("Gerät im Büro äußert Überlast – prüfen; ", 24))
		case "names":
			for i := range 60 {
				fmt.Fprintf(&data, `"name_of_%d":%d,`, i, k)
			}
			data.WriteString(`"last":null`)
		case "indented":
			data.WriteByte('\n')
			for i := range 22 {
				fmt.Fprintf(&data, "      \"field_%d\": {\n        \"value\": %d\n      },\n", i, k)
			}
			data.WriteString("      \"last\": null\n    ")
		}
		out[k] = fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/netbox","type":"t","time":"2026-11-23T10:00:00Z","data":{%s}}`, k, data.String())
	}
	return out
}

// BenchmarkScan compares the scanner with jsontext's and encoding/json's checks of
// the same texts. The latter does not look for names that are there twice.
func BenchmarkScan(b *testing.B) {
	for _, shape := range []string{"device", "numbers", "text", "umlauts", "names", "indented"} {
		list := texts(shape)
		size := int64(len(list[len(list)-1]))
		run := func(name string, valid func([]byte) bool) {
			b.Run(shape+"/"+name, func(b *testing.B) {
				b.SetBytes(size)
				b.ReportAllocs()
				for i := range b.N {
					if !valid(list[i%len(list)]) {
						b.Fatal("not valid")
					}
				}
			})
		}
		var s scan.Scanner
		run("scan", func(text []byte) bool { _, err := s.Scan(text, 0, 64); return err == nil })
		run("jsontext", func(text []byte) bool { return jsontext.Value(text).IsValid() })
		run("encoding-json", json.Valid)
	}
}
