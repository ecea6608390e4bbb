/**
 * Memory for packets that are sent, used again and again.
 *
 * @module
 */
import { Buffer } from "node:buffer";

/** Bytes of one block. A packet that fills one has memory of its own. */
const BLOCK_SIZE = 512 * 1024;
/** Blocks that are kept while nothing is in them: what waits in a congested socket fills one or two. */
const SPARE_BLOCKS = 2;
/** Where the memory of a packet begins: at a multiple of this. */
const ALIGNMENT = 16;

/** A block of memory, given out from its beginning. */
interface Block {
  readonly memory: Buffer;
  used: number;
  /** Pieces that were taken and not released. */
  out: number;
}

/**
 * Gives out memory in the order in which it comes back: a packet is written soon after it was made.
 *
 * A piece that never comes back costs its block, which is left to the garbage collector then.
 */
export class SendBuffer {
  #block: Block | undefined;
  readonly #spare: Block[] = [];
  readonly #blocks = new WeakMap<ArrayBufferLike, Block>();

  /**
   * Takes memory for a packet.
   *
   * @param bytes How many.
   * @returns Memory with anything in it.
   */
  take(bytes: number): Buffer {
    const size = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    if (size > BLOCK_SIZE) return Buffer.allocUnsafeSlow(bytes);
    let block = this.#block;
    if (block === undefined || block.used + size > BLOCK_SIZE) {
      block = this.#block = this.#spare.pop() ?? this.#newBlock();
    }
    const piece = block.memory.subarray(block.used, block.used + bytes);
    block.used += size;
    block.out++;
    return piece;
  }

  /**
   * Gives memory back: it was written, or nobody needs it any more.
   *
   * @param piece What `take()` returned, or a part of it; once for each. Other memory may be given
   *   as well, and is left alone.
   */
  release(piece: Uint8Array): void {
    const block = this.#blocks.get(piece.buffer);
    if (block === undefined || --block.out > 0) return;
    block.used = 0;
    if (block !== this.#block && this.#spare.length < SPARE_BLOCKS) this.#spare.push(block);
  }

  #newBlock(): Block {
    const block = { memory: Buffer.allocUnsafeSlow(BLOCK_SIZE), used: 0, out: 0 };
    this.#blocks.set(block.memory.buffer, block);
    return block;
  }
}
