#!/usr/bin/env bash
# Exits with 0 if the mongod of this container is a primary or a secondary. It sends the command hello itself, because
# mongosh would take about a second of CPU time for each check.
set -eu
export LC_ALL=C

exec 3<>"/dev/tcp/127.0.0.1/${1:-27017}"
# An OP_MSG of 52 bytes: its header (request 1, opcode 2013), no flags, and the document {hello: 1, $db: "admin"}.
printf '\x34\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0' >&3
size=$(head -c 4 <&3 | od -An -td4)
# A field that is true: its name, a zero byte and a one byte.
head -c $((size - 4)) <&3 | tr '\0\1' '01' | grep -aqE '(isWritablePrimary|secondary)01'
