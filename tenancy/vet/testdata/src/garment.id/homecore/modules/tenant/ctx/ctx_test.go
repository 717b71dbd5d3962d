package ctx

import "context"

func inATest(s *service) {
	s.plain.Find(nil)
	s.DB.Gorm(context.Background())
}
