package blob

// Limits bound what developers upload. Zero fields mean the default.
type Limits struct {
	// Size of the zip in bytes. Default 1 GiB, as Cloud Foundry's
	// max_package_size.
	Size int64
	// Unpacked is the sum of all files in bytes. Default 4 GiB.
	Unpacked int64
	// Entries of the zip. Default 200,000.
	Entries int
	// Directory is the size of the zip's list of entries in bytes, which is
	// held in memory. Default 64 MiB.
	Directory int64
	// Ratio of unpacked to packed size above which an archive is taken for a
	// bomb, if it unpacks to more than RatioFrom bytes. Defaults 200 and
	// 256 MiB.
	Ratio     int64
	RatioFrom int64
	// Resources is how many files one request may name. Default 200,000.
	Resources int
}

func (l Limits) withDefaults() Limits {
	or := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	or(&l.Size, 1<<30)
	or(&l.Unpacked, 4<<30)
	or(&l.Directory, 64<<20)
	or(&l.Ratio, 200)
	or(&l.RatioFrom, 256<<20)
	if l.Entries == 0 {
		l.Entries = 200_000
	}
	if l.Resources == 0 {
		l.Resources = 200_000
	}
	return l
}
