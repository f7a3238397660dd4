module example.com/sample-go

go 1.24.0

require github.com/dustin/go-humanize v1.0.1
