package mail

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Mailbox keeps messages in the table central.kept_mail instead of sending them. It is for development, and it shows what it keeps to
// everyone who can reach its Handler: production must have neither.
type Mailbox struct{ db *sql.DB }

// Kept is a message the mailbox keeps.
type Kept struct {
	ID      uuid.UUID `json:"id"`
	To      string    `json:"to"` // the bare address
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	HTML    string    `json:"html"`
	Links   []string  `json:"links"` // in the text, in order, each once
	At      time.Time `json:"at"`
}

// shown bounds what a reader is given; older mail is kept all the same.
const shown = 200

// NewMailbox returns the mailbox in db.
func NewMailbox(db *sql.DB) *Mailbox { return &Mailbox{db: db} }

// Send keeps m. What an SMTP sender would refuse as malformed is refused here too, so that it is found in development.
func (b *Mailbox) Send(ctx context.Context, m Message) error {
	to, err := m.check()
	if err != nil {
		return &PermanentError{Err: err}
	}
	links, err := json.Marshal(linksIn(m.Text))
	if err != nil {
		return fmt.Errorf("keep mail: %w", err)
	}
	// The id is made in order of time, and later the order of reading.
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("keep mail: %w", err)
	}
	_, err = b.db.ExecContext(ctx, `INSERT INTO central.kept_mail (id, recipient, subject, text_body, html_body, links) VALUES ($1, $2, $3, $4, $5, $6)`,
		id, to.Address, m.Subject, m.Text, m.HTML, string(links))
	if err != nil {
		return fmt.Errorf("keep mail: %w", err)
	}
	return nil
}

// Newest returns the newest 200 messages, newest first; only those to an address if to is not empty. Upper and lower case are the same.
func (b *Mailbox) Newest(ctx context.Context, to string) ([]Kept, error) {
	rows, err := b.db.QueryContext(ctx, `SELECT id, recipient, subject, text_body, html_body, links, created_at FROM central.kept_mail
		WHERE $1::text = '' OR lower(recipient) = lower($1::text) ORDER BY id DESC LIMIT $2`, to, shown)
	if err != nil {
		return nil, fmt.Errorf("read kept mail: %w", err)
	}
	defer rows.Close()
	kept := []Kept{}
	for rows.Next() {
		var k Kept
		var links []byte
		if err := rows.Scan(&k.ID, &k.To, &k.Subject, &k.Text, &k.HTML, &links, &k.At); err != nil {
			return nil, fmt.Errorf("read kept mail: %w", err)
		}
		if err := json.Unmarshal(links, &k.Links); err != nil {
			return nil, fmt.Errorf("read links of kept mail %s: %w", k.ID, err)
		}
		k.At = k.At.UTC()
		kept = append(kept, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read kept mail: %w", err)
	}
	return kept, nil
}

// Empty forgets every message.
func (b *Mailbox) Empty(ctx context.Context) error {
	if _, err := b.db.ExecContext(ctx, `DELETE FROM central.kept_mail`); err != nil {
		return fmt.Errorf("empty the mailbox: %w", err)
	}
	return nil
}

var link = regexp.MustCompile(`https?://[^\s<>"]+`)

// linksIn returns the addresses in text, in order, each once, without the punctuation of the sentence around them.
func linksIn(text string) []string {
	links := []string{}
	for _, l := range link.FindAllString(text, -1) {
		if l = strings.TrimRight(l, ".,;:!?)]}'"); !slices.Contains(links, l) {
			links = append(links, l)
		}
	}
	return links
}
