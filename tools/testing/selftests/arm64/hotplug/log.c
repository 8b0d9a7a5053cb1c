// SPDX-License-Identifier: GPL-2.0
/*
 * Run behind all others: nothing alarming was logged since boot, in no test and before
 * and between them. What reports once only would be silent afterwards.
 */
#include "../../kselftest_harness.h"
#include "util.h"

/* From the first record of the kernel log to the last */
TEST(sound_since_boot)
{
	EXPECT_EQ(0, log_sound());
}

TEST_HARNESS_MAIN
