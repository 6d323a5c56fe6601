// The process that holds a pod's namespaces: see main.go.
module hybridmesh/lab/pause

go 1.26
