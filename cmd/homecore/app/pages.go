package app

import (
	"html/template"
	"net/http"

	"garment.id/homecore/modules/central/identity"
	"garment.id/homecore/platform/mail"
)

// pages are what the base domain serves beside the API: the forms that links in mails lead to, and in development the mailbox and a
// front page, where those links lead that ask for nothing, as long as no wizard's address is configured.
func pages(o Options, mailbox *mail.Mailbox, accounts *identity.Service) *http.ServeMux {
	mux := http.NewServeMux()
	accounts.Pages(mux)
	if o.Development && o.Pages != nil {
		o.Pages(mux)
	}
	if mailbox == nil {
		return mux
	}
	mux.Handle("/dev/mail", mailbox.Handler())
	mux.Handle("/dev/mail.json", mailbox.Handler())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_ = frontPage.Execute(w, r.URL.Query().Get("verified")) // a reader who left
	})
	return mux
}

var frontPage = template.Must(template.New("front").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>HomeCore</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}</style>
<h1>HomeCore</h1>
{{if eq . "1"}}<p><strong>The address is verified.</strong> You can sign in now.</p>
{{else if eq . "0"}}<p><strong>The link is not valid, or too old.</strong> Ask for a new one.</p>{{end}}
<p>This is development. <a href="/docs">The API</a> · <a href="/dev/mail">The mailbox</a></p>
</html>
`))
