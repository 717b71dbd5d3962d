package mail

import (
	"bytes"
	_ "embed" // for the page
	"encoding/json"
	"html/template"
	"net/http"
)

//go:embed mailbox.html
var mailboxHTML string

var mailboxTemplate = template.Must(template.New("mailbox").Parse(mailboxHTML))

// A mail's HTML is shown in a frame, which inherits this policy: it may style itself, and load or run nothing.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Handler serves the mailbox:
//
//	GET    /dev/mail       a page for people
//	GET    /dev/mail.json  [{"id","to","subject","text","html","links","at"}], the newest 200, newest first; ?to= keeps one recipient's
//	DELETE /dev/mail       empties it; POST does too, for the page's button
func (b *Mailbox) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dev/mail", b.page)
	mux.HandleFunc("GET /dev/mail.json", b.list)
	mux.HandleFunc("DELETE /dev/mail", b.empty)
	mux.HandleFunc("POST /dev/mail", b.empty)
	// Any page open in a developer's browser can post to localhost.
	return http.NewCrossOriginProtection().Handler(mux)
}

func (b *Mailbox) list(w http.ResponseWriter, r *http.Request) {
	kept, err := b.Newest(r.Context(), r.URL.Query().Get("to"))
	if err != nil {
		broken(w, err)
		return
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // a link with & is to be copied as it is
	if err := encoder.Encode(kept); err != nil {
		broken(w, err)
		return
	}
	write(w, "application/json", body.Bytes())
}

func (b *Mailbox) page(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	view := struct {
		Mails  []Kept
		To     string
		Open   *Kept // the one being read
		AsText bool
		Gone   bool // the one asked for is no longer here
		Frame  string
	}{To: query.Get("to"), AsText: query.Get("view") == "text"}
	kept, err := b.Newest(r.Context(), view.To)
	if err != nil {
		broken(w, err)
		return
	}
	view.Mails = kept
	if id := query.Get("id"); id != "" {
		for i := range kept {
			if kept[i].ID.String() == id {
				view.Open = &kept[i]
				// Links in the frame open beside the mailbox: inside a sandbox nothing would work.
				view.Frame = `<base target="_blank">` + kept[i].HTML
				view.AsText = view.AsText || kept[i].HTML == ""
			}
		}
		view.Gone = view.Open == nil
	}
	var body bytes.Buffer
	if err := mailboxTemplate.Execute(&body, view); err != nil {
		broken(w, err)
		return
	}
	write(w, "text/html; charset=utf-8", body.Bytes())
}

func (b *Mailbox) empty(w http.ResponseWriter, r *http.Request) {
	if err := b.Empty(r.Context()); err != nil {
		broken(w, err)
		return
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, "/dev/mail", http.StatusSeeOther)
}

func write(w http.ResponseWriter, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // not no-referrer: that also hides the origin of the page's own form
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // the reader has gone: nobody to tell
}

// broken shows the cause, to the developer it is for.
func broken(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusInternalServerError)
}
