module github.com/pointsman/pointsman/tools/lint

go 1.26
