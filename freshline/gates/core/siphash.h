/*
 * SipHash-1-3 (Aumasson and Bernstein, 2012), fed piece by piece. Keyed, so that nobody can pick URLs that collide.
 */

#ifndef FRESHLINE_SIPHASH_H
#define FRESHLINE_SIPHASH_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct siphash {
	uint64_t v0, v1, v2, v3;
	uint64_t tail;
	uint64_t length;
};

static inline uint64_t
siphash_rotate(uint64_t x, unsigned by)
{

	return (x << by | x >> (64 - by));
}

static inline void
siphash_round(struct siphash *h)
{

	h->v0 += h->v1;
	h->v1 = siphash_rotate(h->v1, 13) ^ h->v0;
	h->v0 = siphash_rotate(h->v0, 32);
	h->v2 += h->v3;
	h->v3 = siphash_rotate(h->v3, 16) ^ h->v2;
	h->v0 += h->v3;
	h->v3 = siphash_rotate(h->v3, 21) ^ h->v0;
	h->v2 += h->v1;
	h->v1 = siphash_rotate(h->v1, 17) ^ h->v2;
	h->v2 = siphash_rotate(h->v2, 32);
}

static inline void
siphash_begin(struct siphash *h, const uint64_t key[2])
{

	h->v0 = key[0] ^ UINT64_C(0x736f6d6570736575);
	h->v1 = key[1] ^ UINT64_C(0x646f72616e646f6d);
	h->v2 = key[0] ^ UINT64_C(0x6c7967656e657261);
	h->v3 = key[1] ^ UINT64_C(0x7465646279746573);
	h->tail = 0;
	h->length = 0;
}

static inline void
siphash_word(struct siphash *h, uint64_t word)
{

	h->v3 ^= word;
	siphash_round(h);
	h->v0 ^= word;
}

/* Eight at a time, wherever in a word what came before has ended: in a hit this is most of what is left to do. */
static inline void
siphash_bytes(struct siphash *h, const void *from, size_t n)
{
	const unsigned char *p = from;
	unsigned filled = 8 * (h->length & 7);
	uint64_t word;

	for (; n >= sizeof word; n -= sizeof word, p += sizeof word, h->length += sizeof word) {
		memcpy(&word, p, sizeof word);
		word = le64toh(word);
		siphash_word(h, h->tail | word << filled);
		h->tail = filled == 0 ? 0 : word >> (64 - filled);
	}
	for (; n > 0; n--, p++) {
		h->tail |= (uint64_t)*p << 8 * (h->length & 7);
		h->length++;
		if ((h->length & 7) == 0) {
			siphash_word(h, h->tail);
			h->tail = 0;
		}
	}
}

/* A field whose end is part of what is hashed, so that ("a", "bc") and ("ab", "c") differ. */
static inline void
siphash_field(struct siphash *h, const void *from, size_t n)
{
	uint64_t length = n;

	siphash_bytes(h, &length, sizeof length);
	siphash_bytes(h, from, n);
}

static inline uint64_t
siphash_end(struct siphash *h)
{
	unsigned i;

	h->tail |= h->length << 56;
	siphash_word(h, h->tail);
	h->v2 ^= 0xff;
	for (i = 0; i < 3; i++)
		siphash_round(h);
	return (h->v0 ^ h->v1 ^ h->v2 ^ h->v3);
}

#endif
