package activity

import (
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// places knows where addresses are; without a file, of none.
type places struct{ db *maxminddb.Reader }

// place is where an address is thought to be. Country is empty where that is not known.
type place struct {
	country, city string
	lat, lon      *float64
}

func openPlaces(file string) (places, error) {
	if file == "" {
		return places{}, nil
	}
	db, err := maxminddb.Open(file)
	if err != nil {
		return places{}, fmt.Errorf("open %s: %w", file, err)
	}
	return places{db}, nil
}

func (p places) close() {
	if p.db != nil {
		_ = p.db.Close()
	}
}

// of returns where ip is. What the file says wrongly or not at all is not known; nobody's sign-in depends on it.
func (p places) of(ip netip.Addr) place {
	if p.db == nil || !ip.IsValid() {
		return place{}
	}
	var found struct {
		Country struct {
			ISO string `maxminddb:"iso_code"`
		} `maxminddb:"country"`
		City struct {
			Names struct {
				English string `maxminddb:"en"`
			} `maxminddb:"names"`
		} `maxminddb:"city"`
		Location struct {
			Lat *float64 `maxminddb:"latitude"`
			Lon *float64 `maxminddb:"longitude"`
		} `maxminddb:"location"`
	}
	if err := p.db.Lookup(ip).Decode(&found); err != nil {
		return place{}
	}
	at := place{country: found.Country.ISO, city: found.City.Names.English}
	if found.Location.Lat != nil && found.Location.Lon != nil {
		at.lat, at.lon = found.Location.Lat, found.Location.Lon
	}
	return at
}
