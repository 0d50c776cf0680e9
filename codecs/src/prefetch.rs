//! Asks the processor for memory that is needed soon: a line that is waited for costs some 100 ns, one of
//! several that are on their way about 12.
//!
//! The only `unsafe` of the workspace.  A prefetch changes nothing that a program can see but the time it takes,
//! so whatever it is told, results are the same.

/// Starts to load the cache line at a place, for reading or writing.  Without effect where the processor has no
/// such instruction.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads no memory as far as the language is concerned: it can't fault, and the
        // address is that of a reference, so it is mapped and lives for the whole call.  SSE, which it
        // needs, is part of x86-64.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(place).cast::<i8>());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

/// The same for a place in a slice; nothing happens where the slice ends before it.
#[inline(always)]
pub fn prefetch_at<T>(slice: &[T], at: usize) {
    if let Some(place) = slice.get(at) {
        prefetch(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_as_it_is() {
        let slice: Vec<u64> = (0..1000).collect();
        for at in [0, 1, 999, 1000, usize::MAX] {
            prefetch_at(&slice, at);
        }
        prefetch(&slice);
        assert!(slice.iter().copied().eq(0..1000));
    }
}
