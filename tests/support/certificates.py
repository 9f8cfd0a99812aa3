# SPDX-License-Identifier: Apache-2.0
"""Certificates for a test, by the openssl command: an authority and what it signs. Keys are P-256, as they are quick to make."""
import os
import ssl
import subprocess


def openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout


class Authority:
    """In a folder: ca.pem, and NAME.pem and NAME.key for each certificate."""

    def __init__(self, folder, name="a test's authority"):
        self.dir = folder
        os.makedirs(folder, exist_ok=True)
        self.ca = self.path("ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", self.path("ca.key"), "-out", self.ca)

    def path(self, name):
        return os.path.join(self.dir, name)

    def issue(self, name, host="localhost", days=2, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """NAME.pem and NAME.key, for localhost and 127.0.0.1 too. Returns their paths."""
        request, extensions = self.path(name + ".csr"), self.path(name + ".ext")
        openssl("req", "-newkey", *key, "-nodes", "-subj", f"/CN={host}", "-keyout", self.path(name + ".key"), "-out", request)
        with open(extensions, "w") as f:
            f.write(f"subjectAltName=DNS:{host},DNS:localhost,IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.path("ca.key"), "-CAcreateserial", "-days", str(days),
                "-extfile", extensions, "-out", self.path(name + ".pem"))
        return self.path(name + ".pem"), self.path(name + ".key")

    def context(self, certificate=None, key=None):
        """For clients: trusts this authority and nobody else."""
        context = ssl.create_default_context(cafile=self.ca)
        if certificate:
            context.load_cert_chain(certificate, key)
        return context
