/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest's NUMA nodes. QEMU's own table has them too, but does not cover the flash,
 * which the firmware calls memory: for Linux that makes a broken table. Of two tables
 * with the same IDs it takes that with the larger OEM revision. CPUs that the table does
 * not name are on node 0.
 */
[0004]			Signature : "SRAT"
[0004]			Table Length : 00000000
[0001]			Revision : 03
[0001]			Checksum : 00
[0006]			Oem ID : "BOCHS "
[0008]			Oem Table ID : "BXPC    "
[0004]			Oem Revision : 00000002
[0004]			Asl Compiler ID : "INTL"
[0004]			Asl Compiler Revision : 00000001

[0004]			Table Revision : 00000001
[0008]			Reserved : 0000000000000000

/* Node 0: all below the place for devices of memory, which boot puts in for @HOT@ */
[0001]			Subtable Type : 01
[0001]			Length : 28
[0004]			Proximity Domain : 00000000
[0002]			Reserved1 : 0000
[0008]			Base Address : 0000000000000000
[0008]			Address Length : @HOT@
[0004]			Reserved2 : 00000000
[0004]			Flags (decoded below) : 00000001
			Enabled : 1
			Hot Pluggable : 0
			Non-Volatile : 0
[0008]			Reserved3 : 0000000000000000

/* Node 1: the TiB from there on */
[0001]			Subtable Type : 01
[0001]			Length : 28
[0004]			Proximity Domain : 00000001
[0002]			Reserved1 : 0000
[0008]			Base Address : @HOT@
[0008]			Address Length : 0000010000000000
[0004]			Reserved2 : 00000000
[0004]			Flags (decoded below) : 00000003
			Enabled : 1
			Hot Pluggable : 1
			Non-Volatile : 0
[0008]			Reserved3 : 0000000000000000
