package app

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"garment.id/homecore/modules/central/masterdata"
	"garment.id/homecore/modules/central/tenants"
	"garment.id/homecore/modules/tenant/taxonomies"
)

//go:embed demo.json
var demoText []byte

// Demo is the data that development starts with: fixed, so that what one person sees another sees too.
type Demo struct {
	Operator DemoAccount        `json:"operator"`
	Owner    DemoAccount        `json:"owner"`
	Masters  []masterdata.Draft `json:"master_taxonomies"`
	Tenants  []struct {
		tenants.Draft
		Taxonomies []taxonomies.Draft `json:"taxonomies"`
	} `json:"tenants"`
}

// DemoAccount is somebody to sign in as.
type DemoAccount struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

// LoadDemo reads the seed file.
func LoadDemo() (Demo, error) {
	var d Demo
	if err := json.Unmarshal(demoText, &d); err != nil {
		return d, fmt.Errorf("read demo.json: %w", err)
	}
	return d, nil
}

// Seed puts the demo data where it is missing; it may be repeated.
func (a *App) Seed(ctx context.Context, d Demo) error {
	if _, err := a.account(ctx, d.Operator); err != nil {
		return err
	}
	if err := a.Identity.GrantRole(ctx, d.Operator.Email, "owner", "demo data"); err != nil {
		return fmt.Errorf("make the demo operator: %w", err)
	}
	if err := a.Masters.EnsureAll(ctx, d.Masters); err != nil {
		return fmt.Errorf("make the demo master taxonomies: %w", err)
	}
	owner, err := a.account(ctx, d.Owner)
	if err != nil {
		return err
	}
	begun := map[int]uuid.UUID{}
	for i, t := range d.Tenants {
		o, err := a.Tenants.Onboard(ctx, owner, t.Draft)
		if errors.Is(err, tenants.SlugTaken) {
			continue // from an earlier start
		}
		if err != nil {
			return fmt.Errorf("onboard demo tenant %s: %w", t.Slug, err)
		}
		begun[i] = o.ID
	}
	for i, id := range begun {
		if err := a.fillDemo(ctx, owner, id, d.Tenants[i].Taxonomies); err != nil {
			return fmt.Errorf("fill demo tenant %s: %w", d.Tenants[i].Slug, err)
		}
	}
	return nil
}

func (a *App) account(ctx context.Context, d DemoAccount) (uuid.UUID, error) {
	id, err := a.Identity.CreateVerified(ctx, d.Name, d.Email, d.Password, "id")
	if err != nil {
		return id, fmt.Errorf("make demo account %s: %w", d.Email, err)
	}
	return id, nil
}

// fillDemo makes the tenant, or waits for who is making it, and adds what is its own.
func (a *App) fillDemo(ctx context.Context, owner, onboarding uuid.UUID, drafts []taxonomies.Draft) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := a.Tenants.Provision(ctx, onboarding); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		o, t, err := a.Tenants.Show(ctx, owner, onboarding)
		if err != nil {
			return err
		}
		if o.Status == "failed" {
			return errors.New("its onboarding failed")
		}
		if o.Status == "active" {
			entered, err := a.Registry.Enter(ctx, t.ID)
			if err != nil {
				return err
			}
			return a.tenants.Tx(entered, func(ctx context.Context) error {
				for _, d := range drafts {
					if _, err := a.Taxonomies.Create(ctx, d); err != nil {
						return fmt.Errorf("taxonomy %s: %w", d.Code, err)
					}
				}
				return nil
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
