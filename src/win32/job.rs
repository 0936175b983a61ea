//! Job objects: a set of processes that is ended, limited and counted as one, and that no member can leave.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::IO::{CreateIoCompletionPort, GetQueuedCompletionStatus};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_ASSOCIATE_COMPLETION_PORT, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS,
    JobObjectAssociateCompletionPortInformation, JobObjectBasicAccountingInformation, JobObjectBasicProcessIdList,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::SystemServices::JOB_OBJECT_MSG_JOB_MEMORY_LIMIT;
use windows_sys::Win32::System::Threading::{CREATE_SUSPENDED, GetCurrentProcess, OpenThread, ResumeThread, THREAD_SUSPEND_RESUME};

use super::process::SpawnFlags;
use super::{Usage, done, size_of};

/// Exit code of processes that are ended by force: that of a program that was ended by Ctrl-C, which shells know.
const KILLED: u32 = 0xC000_013A;

/// Processes that fit into the first question for their numbers.
const LIST_FIRST: usize = 64;

/// A set of processes. Whatever is in it dies with the last handle to it, and so with this process, unless it was
/// [released](Self::release).
#[derive(Debug)]
pub(crate) struct Job {
    handle: OwnedHandle,
    limit: Option<usize>,
    messages: Option<OwnedHandle>,
}

impl Job {
    /// An empty job. With a limit, memory that all of its processes together want beyond it is refused to them.
    pub(crate) fn new(memory: Option<u64>) -> io::Result<Self> {
        // SAFETY: both arguments may be null: no name, and a handle that is not inherited. The result is checked below.
        let handle = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
        let handle = owned(handle)?;
        let limit = memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut job = Self { handle, limit, messages: None };
        job.set_limits(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)?;
        if limit.is_some() {
            job.messages = Some(job.listen()?);
        }
        Ok(job)
    }

    fn set_limits(&self, mut flags: u32) -> io::Result<()> {
        let mut info = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        if let Some(limit) = self.limit {
            flags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
            info.JobMemoryLimit = limit;
        }
        info.BasicLimitInformation.LimitFlags = flags;
        self.set(JobObjectExtendedLimitInformation, &info)
    }

    /// A port that the system puts notes about the job into.
    fn listen(&self) -> io::Result<OwnedHandle> {
        // SAFETY: the documented way to make a port without a file.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        let port = owned(port)?;
        let link = JOBOBJECT_ASSOCIATE_COMPLETION_PORT { CompletionKey: ptr::null_mut(), CompletionPort: port.as_raw_handle() };
        self.set(JobObjectAssociateCompletionPortInformation, &link)?;
        Ok(port)
    }

    fn set<T>(&self, class: JOBOBJECTINFOCLASS, info: &T) -> io::Result<()> {
        // SAFETY: the pointer and the size are those of a living structure, which every caller picks to fit the class.
        done(unsafe { SetInformationJobObject(self.handle.as_raw_handle(), class, ptr::from_ref(info).cast(), size_of::<T>()) })
    }

    fn get<T: Default>(&self, class: JOBOBJECTINFOCLASS) -> io::Result<T> {
        let mut info = T::default();
        // SAFETY: as in `set`; the call writes at most that many bytes of a structure that is plain numbers.
        done(unsafe {
            let info = ptr::from_mut(&mut info).cast();
            QueryInformationJobObject(self.handle.as_raw_handle(), class, info, size_of::<T>(), ptr::null_mut())
        })?;
        Ok(info)
    }

    /// Takes this process in, so that everything that it starts from now on belongs to the job from its birth.
    pub(crate) fn enter(&self) -> io::Result<()> {
        // SAFETY: the handle of this process is always valid and needs no closing.
        self.assign(unsafe { GetCurrentProcess() })
    }

    fn assign(&self, process: HANDLE) -> io::Result<()> {
        // SAFETY: both handles are open; a wrong one would be an error and nothing worse.
        done(unsafe { AssignProcessToJobObject(self.handle.as_raw_handle(), process) })
    }

    /// Starts a program that is in the job before its first instruction.
    ///
    /// # Errors
    /// What the system said. Nothing is left running then.
    pub(crate) fn spawn(&self, command: &mut Command, flags: SpawnFlags) -> io::Result<Child> {
        let mut child = command.creation_flags(flags.bits() | CREATE_SUSPENDED).spawn()?;
        let running = self.assign(child.as_raw_handle()).and_then(|()| resume(child.id()));
        if let Err(error) = running {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok(child)
    }

    /// Ends all of its processes at once. They are not gone yet when this returns.
    pub(crate) fn kill(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        done(unsafe { TerminateJobObject(self.handle.as_raw_handle(), KILLED) })
    }

    /// Lets its processes outlive it.
    pub(crate) fn release(&self) -> io::Result<()> {
        self.set_limits(0)
    }

    /// How many processes are in it.
    pub(crate) fn count(&self) -> io::Result<u32> {
        Ok(self.accounting()?.ActiveProcesses)
    }

    /// Numbers of the processes in it.
    pub(crate) fn processes(&self) -> io::Result<Vec<u32>> {
        // Two counters of 32 bits, then one word for each process.
        let mut words = vec![0_usize; HEAD_WORDS + LIST_FIRST];
        loop {
            let bytes = u32::try_from(std::mem::size_of_val(words.as_slice())).unwrap_or(u32::MAX);
            // SAFETY: the buffer is so long, and any bytes are valid words.
            let result = done(unsafe {
                let list = words.as_mut_ptr().cast();
                QueryInformationJobObject(self.handle.as_raw_handle(), JobObjectBasicProcessIdList, list, bytes, ptr::null_mut())
            });
            match result {
                Ok(()) => break,
                Err(error) if error.raw_os_error() == Some(ERROR_MORE_DATA.cast_signed()) => words.resize(words.len() * 2, 0),
                Err(error) => return Err(error),
            }
        }
        let listed = listed(&words);
        Ok(words.iter().skip(HEAD_WORDS).take(listed).filter_map(|pid| u32::try_from(*pid).ok()).collect())
    }

    /// What its processes have used.
    pub(crate) fn usage(&self) -> Usage {
        let times = self.accounting().unwrap_or_default();
        let limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = self.get(JobObjectExtendedLimitInformation).unwrap_or_default();
        // Counted in 100 ns.
        let micros = |time: i64| u64::try_from(time).unwrap_or(0) / 10;
        Usage {
            user_us: micros(times.TotalUserTime),
            system_us: micros(times.TotalKernelTime),
            peak_memory: limits.PeakJobMemoryUsed as u64,
        }
    }

    fn accounting(&self) -> io::Result<JOBOBJECT_BASIC_ACCOUNTING_INFORMATION> {
        self.get(JobObjectBasicAccountingInformation)
    }

    /// Whether memory was refused to one of its processes because of the limit, since the last question.
    pub(crate) fn was_refused_memory(&self) -> bool {
        let Some(messages) = &self.messages else { return false };
        let mut refused = false;
        loop {
            let (mut message, mut key, mut about) = (0, 0, ptr::null_mut());
            // SAFETY: the pointers are to living variables; without a timeout nothing is left pending.
            let got = unsafe { GetQueuedCompletionStatus(messages.as_raw_handle(), &raw mut message, &raw mut key, &raw mut about, 0) };
            if got == 0 {
                return refused;
            }
            refused |= message == JOB_OBJECT_MSG_JOB_MEMORY_LIMIT;
        }
    }
}

/// Words before the numbers in a list of processes.
const HEAD_WORDS: usize = 8 / std::mem::size_of::<usize>();

/// How many numbers stand in a list: the second of its two counters.
fn listed(words: &[usize]) -> usize {
    #[cfg(target_pointer_width = "64")]
    let count = words.first().map(|head| head >> 32);
    #[cfg(not(target_pointer_width = "64"))]
    let count = words.get(1).copied();
    count.unwrap_or(0)
}

fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, is valid, and nobody else closes it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Lets a process run that was started suspended. It has one thread, which has to be looked for among all of the system: the standard library
/// closes the handle that it got.
fn resume(pid: u32) -> io::Result<()> {
    // SAFETY: no pointers; the result is checked.
    let snapshot = owned(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) })?;
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>(), ..THREADENTRY32::default() };
    // SAFETY: here and below, the pointer is to a living structure that says its size.
    let mut more = unsafe { Thread32First(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        if entry.th32OwnerProcessID == pid {
            // SAFETY: no pointers; the result is checked.
            let thread = owned(unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, entry.th32ThreadID) })?;
            // SAFETY: the handle is open and has the right to do so.
            let before = unsafe { ResumeThread(thread.as_raw_handle()) };
            return if before == u32::MAX { Err(io::Error::last_os_error()) } else { Ok(()) };
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(snapshot.as_raw_handle(), &raw mut entry) };
    }
    Err(io::Error::other("the first thread of the program was not found"))
}
