package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/pointsman/pointsman/rules"
)

// maxSettings is the size limit of the configuration file and of a token file.
const maxSettings = 64 << 20

// settings are the few keys of pointsman.yaml that queries need. Other keys are
// not looked at: a router that runs is asked, even when its file was since
// broken elsewhere.
type settings struct {
	Listen string `yaml:"listen"`
	Admin  struct {
		Listen string `yaml:"listen"`
		Token  string `yaml:"token"`
	} `yaml:"admin"`
	Events struct {
		// Auth is a word or a mapping.
		Auth yaml.Node `yaml:"auth"`
	} `yaml:"events"`
	DataDir  string         `yaml:"data_dir"`
	RuleGlob []string       `yaml:"rules"`
	TLS      map[string]any `yaml:"tls"`

	dir string
}

func defaultSettings() *settings {
	s := &settings{Listen: "127.0.0.1:8080", DataDir: "./pointsman-data", RuleGlob: []string{"rules/*.yaml"}, dir: "."}
	s.Admin.Listen = "127.0.0.1:8081"
	return s
}

// loadSettings reads a configuration file; the error wraps fs.ErrNotExist when
// there is none.
func loadSettings(path string) (configuration, error) {
	text, err := readLimited(path)
	if err != nil {
		return nil, err
	}
	s := defaultSettings()
	s.dir = filepath.Dir(path)
	if err := yaml.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, text := range []*string{&s.Listen, &s.Admin.Listen, &s.DataDir} {
		if *text, err = s.expand(*text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return s, nil
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err == nil && len(text) > maxSettings {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSettings)
	}
	return text, err
}

// expand replaces ${env:NAME} and ${file:PATH}.
func (s *settings) expand(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "${")
		out.WriteString(before)
		if !ok {
			return out.String(), nil
		}
		ref, after, ok := strings.Cut(rest, "}")
		kind, name, _ := strings.Cut(ref, ":")
		switch {
		case ok && kind == "env":
			value, set := os.LookupEnv(name)
			if !set {
				return "", fmt.Errorf("environment variable %s is not set", name)
			}
			out.WriteString(value)
		case ok && kind == "file":
			value, err := readLimited(s.path(name))
			if err != nil {
				return "", err
			}
			out.WriteString(strings.TrimSuffix(string(value), "\n"))
		default:
			return "", errors.New("a reference must be ${env:NAME} or ${file:PATH}")
		}
		text = after
	}
}

func (s *settings) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.dir, name)
}

func (s *settings) EventsURL() string {
	scheme := "http://"
	if len(s.TLS) > 0 {
		scheme = "https://"
	}
	return scheme + dialable(s.Listen)
}

func (s *settings) AdminURL() string { return "http://" + dialable(s.Admin.Listen) }

func (s *settings) AdminToken() (string, error) {
	if s.Admin.Token != "" {
		return s.expand(s.Admin.Token)
	}
	text, err := readLimited(filepath.Join(s.path(s.DataDir), "admin-token"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

func (s *settings) EventsToken() (string, error) {
	if s.Events.Auth.Kind != yaml.MappingNode {
		return "", nil
	}
	var auth struct {
		Bearer yaml.Node `yaml:"bearer"`
	}
	wrong := errors.New("events.auth is not as it should be (pointsman check says why)") // yaml's error may quote the file
	if err := s.Events.Auth.Decode(&auth); err != nil {
		return "", wrong
	}
	token := &auth.Bearer
	if token.Kind == yaml.SequenceNode && len(token.Content) > 0 {
		token = token.Content[0] // any of them is taken
	}
	if token.Kind != 0 && token.Kind != yaml.ScalarNode {
		return "", wrong
	}
	return s.expand(token.Value)
}

func (s *settings) Rules() (*rules.Ruleset, error) {
	return rules.Load(os.DirFS(s.dir), rules.Options{}, s.RuleGlob...)
}

// dialable turns the address of a listener into one to connect to.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
