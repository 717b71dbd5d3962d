package identity

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// Person is an account as the other modules may name it.
type Person struct {
	ID    uuid.UUID
	Name  string
	Email string
}

// People returns the accounts with these ids; those that are gone are missing.
func (s *Service) People(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]Person, error) {
	if len(ids) == 0 {
		return map[uuid.UUID]Person{}, nil
	}
	var rows []user
	err := s.DB.Gorm(ctx).Select("id", "name", "email").Where("id in ?", ids).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("name %d accounts: %w", len(ids), err)
	}
	people := make(map[uuid.UUID]Person, len(rows))
	for _, u := range rows {
		people[u.ID] = Person{ID: u.ID, Name: u.Name, Email: u.Email}
	}
	return people, nil
}
