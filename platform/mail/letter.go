package mail

import (
	"bytes"
	"cmp"
	_ "embed" // for the templates
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"unicode/utf8"

	"garment.id/homecore/platform/locale"
)

// Brand is who writes: it gives every letter the same face.
type Brand struct {
	Name string // "Garment.id"
	URL  string // where the name leads, "https://garment.id"
}

// Letter is what one person is told, in one language. Each string is plain text; line breaks in it mean nothing.
type Letter struct {
	Lang      locale.Language
	Subject   string
	Preheader string   // what an inbox shows after the subject; the first paragraph if empty
	Greeting  string   // "Halo Siti,"
	Body      []string // paragraphs
	Facts     []Fact   // set as a small table: a sign-in's device, address and time
	Action    *Action  // the one thing to do, if there is one
	After     []string // paragraphs after the action: how long the link is good, what to do if it was not you
}

// Fact is one line of a letter's table.
type Fact struct{ Label, Value string }

// Action is a button, and in the plain text a link.
type Action struct{ Label, URL string }

//go:embed letter.html
var letterHTML string

// Outlook for Windows knows no max-width: it gets a table of fixed width around ours. html/template drops comments, so they go in as values.
var letterTemplate = template.Must(template.New("letter").Funcs(template.FuncMap{
	"outlook": func(open bool) template.HTML {
		if open {
			return `<!--[if mso]><table role="presentation" width="600" align="center" cellpadding="0" cellspacing="0"><tr><td><![endif]-->`
		}
		return `<!--[if mso]></td></tr></table><![endif]-->`
	},
}).Parse(letterHTML))

// The brand's own sentences.
var (
	regards    = locale.Text{ID: "Salam,", EN: "Regards,"}
	team       = locale.Text{ID: "Tim %s", EN: "The %s team"}
	buttonHelp = locale.Text{ID: "Tombol tidak berfungsi? Buka tautan ini di peramban:", EN: "Button not working? Open this link in your browser:"}
	automatic  = locale.Text{ID: "Email ini dikirim otomatis. Mohon tidak membalasnya.", EN: "This email was sent automatically. Please do not reply to it."}
)

// Render sets l as text and as HTML that need nothing from the network. It fails on a link that is not absolute http or https.
func (b Brand) Render(to string, l Letter) (Message, error) {
	l = l.tidy()
	links := []string{b.URL}
	if l.Action != nil {
		links = append(links, l.Action.URL)
	}
	for _, link := range links {
		if u, err := url.Parse(link); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return Message{}, fmt.Errorf("render letter %q: a link is not an absolute http(s) URL", l.Subject) // the link may be a secret
		}
	}
	view := struct {
		Letter
		Brand                                Brand
		Regards, Team, ButtonHelp, Automatic string
	}{l, b, regards.In(l.Lang), fmt.Sprintf(team.In(l.Lang), b.Name), buttonHelp.In(l.Lang), automatic.In(l.Lang)}
	var html bytes.Buffer
	if err := letterTemplate.Execute(&html, view); err != nil {
		return Message{}, fmt.Errorf("render letter %q: %w", l.Subject, err)
	}

	var text textWriter
	text.paragraphs(append([]string{l.Greeting}, l.Body...)...)
	for _, f := range l.Facts {
		text.line(f.Label + ": " + f.Value)
	}
	text.gap()
	if l.Action != nil {
		text.line(l.Action.Label + ":")
		text.line(l.Action.URL)
		text.gap()
	}
	text.paragraphs(l.After...)
	text.line(view.Regards)
	text.line(view.Team)
	text.gap()
	text.line(view.Automatic)
	text.line(b.URL)
	return Message{To: to, Subject: l.Subject, Text: text.String(), HTML: html.String()}, nil
}

// tidy returns l with a preheader, a known language, and every text on one line: a line break in a name must not end the subject.
func (l Letter) tidy() Letter {
	if l.Lang != locale.EN {
		l.Lang = locale.ID
	}
	if len(l.Body) > 0 {
		l.Preheader = cmp.Or(l.Preheader, l.Body[0])
	}
	l.Subject, l.Preheader, l.Greeting = oneLine(l.Subject), oneLine(l.Preheader), oneLine(l.Greeting)
	return l
}

func oneLine(s string) string {
	printable := strings.Map(func(r rune) rune {
		if hasControl(string(r)) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(printable), " ")
}

// textWriter sets plain text at the width of an old terminal, which every mail program shows without wrapping again.
type textWriter struct{ strings.Builder }

const textWidth = 72

// paragraphs writes each that is not empty, and a blank line after it.
func (w *textWriter) paragraphs(texts ...string) {
	for _, text := range texts {
		w.line(text)
		w.gap()
	}
}

// line writes text wrapped between words; a word is never broken, so that a link stays one.
func (w *textWriter) line(text string) {
	column := 0
	for word := range strings.FieldsSeq(oneLine(text)) {
		width := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+width > textWidth:
			w.WriteByte('\n')
			column = 0
		default:
			w.WriteByte(' ')
			column++
		}
		w.WriteString(word)
		column += width
	}
	if column > 0 {
		w.WriteByte('\n')
	}
}

// gap writes a blank line, unless there is one.
func (w *textWriter) gap() {
	if w.Len() > 0 && !strings.HasSuffix(w.String(), "\n\n") {
		w.WriteByte('\n')
	}
}
