// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors

// Runs h2spec against a server that wants a client certificate, which h2spec's own program has no
// flags for, and writes the results as JUnit. Ends with 0 when all cases have run, whatever came of
// them: the caller judges the results.
package main

import (
	"flag"
	"log"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"
)

func main() {
	host := flag.String("host", "127.0.0.1", "address of the server")
	port := flag.Int("port", 15008, "its port")
	cert := flag.String("cert", "", "PEM file of the client's certificate")
	key := flag.String("key", "", "PEM file of its key")
	junit := flag.String("junit", "", "file to write the results to")
	flag.Parse()
	_, err := h2spec.Run(&config.Config{
		Host: *host, Port: *port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000,
		JUnitReport: *junit, Strict: true, TLS: true,
		// The name of a SPIFFE certificate is no host name; who the server is, other tests check.
		Insecure: true, CertFile: *cert, CertKeyFile: *key, Sections: flag.Args(),
	})
	if err != nil {
		log.Fatal(err)
	}
}
