//! One machine of the lab: a network, mount, IPC and process namespace of its own, entered by one thread that starts everything on it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce(&mut Inside) + Send>;

/// How long the processes of a machine may take to vanish when its power is cut.
const OFF_MAX: Duration = Duration::from_secs(10);

/// A machine. Everything on it ends when it is dropped, or with the suite.
pub struct Machine {
    pub name: String,
    pub address: Ipv4Addr,
    jobs: mpsc::Sender<Job>,
    /// Its first process as the suite sees it; 0 while it is off.
    init: AtomicU32,
}

/// What the machine's thread holds.
struct Inside {
    init: Option<Child>,
    /// The suite's own process namespace and program: on the machine /proc shows the machine's processes.
    suite: File,
    program: PathBuf,
}

impl Machine {
    /// Makes the namespaces and boots. The network is not yet connected (see [`super::network`]).
    ///
    /// # Errors
    /// When the system refuses: it takes root.
    pub async fn start(name: &str, address: Ipv4Addr) -> Result<Machine> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, entered) = oneshot::channel();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || match Inside::enter() {
            Ok(mut inside) => {
                let _ = ready.send(Ok(()));
                while let Ok(job) = queue.recv() {
                    job(&mut inside);
                }
                inside.off();
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        })?;
        entered.await.context("the machine's thread ended")??;
        let machine = Machine { name: name.to_owned(), address, jobs, init: AtomicU32::new(0) };
        machine.boot().await?;
        Ok(machine)
    }

    /// Boots: from now on processes can be started.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn boot(&self) -> Result<()> {
        let pid = self.inside(Inside::boot).await??;
        self.init.store(pid, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts the power: every process on the machine is gone when this returns. Disks and the network stay.
    ///
    /// # Errors
    /// When the machine's thread is gone.
    pub async fn power_off(&self) -> Result<()> {
        self.init.store(0, Ordering::Relaxed);
        self.inside(Inside::off).await
    }

    /// The first process, as the suite sees it; `None` while the machine is off.
    pub fn init_pid(&self) -> Option<u32> {
        Some(self.init.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// The machine's file at `path` as the suite can open it, private mounts included; `None` while the machine is off.
    pub fn path(&self, path: &Path) -> Option<PathBuf> {
        let relative = path.strip_prefix("/").ok()?;
        self.init_pid().map(|pid| Path::new("/proc").join(pid.to_string()).join("root").join(relative))
    }

    /// Starts a process on the machine.
    ///
    /// # Errors
    /// When it cannot be started, or the machine is off.
    pub async fn spawn(&self, mut command: Command) -> Result<Child> {
        let child = self.inside(move |inside| inside.init.is_some().then(|| command.spawn())).await?;
        child.with_context(|| format!("{} is off", self.name))?.with_context(|| format!("starting on {}", self.name))
    }

    /// Runs a program on the machine and returns what it printed. Only for programs that end soon.
    ///
    /// # Errors
    /// When it fails; with what it wrote to standard error.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let output = self.inside(move |_| command.output()).await?;
        let output = output.with_context(|| format!("{program} on {}", self.name))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {} on {}: {} {}", arguments.join(" "), self.name, output.status, words.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Mounts an empty file system in memory, seen by this machine only.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn mount_memory(&self, at: &Path, bytes: u64, mode: u32, owner: (u32, u32)) -> Result<()> {
        let (at, options) = (at.to_owned(), format!("size={bytes},mode={mode:o},uid={},gid={}", owner.0, owner.1));
        self.inside(move |_| {
            std::fs::create_dir_all(&at)?;
            mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
            anyhow::Ok(())
        })
        .await?
        .with_context(|| format!("a file system in memory for {}", self.name))
    }

    async fn inside<T: Send + 'static>(&self, work: impl FnOnce(&mut Inside) -> T + Send + 'static) -> Result<T> {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |inside| {
            let _ = done.send(work(inside));
        });
        self.jobs.send(job).ok().with_context(|| format!("the thread of {} is gone", self.name))?;
        answer.await.with_context(|| format!("the thread of {} is gone", self.name))
    }
}

impl Inside {
    /// Moves the calling thread into namespaces of its own.
    fn enter() -> Result<Inside> {
        let suite = File::open("/proc/thread-self/ns/pid").context("the suite's process namespace")?;
        let program = std::env::current_exe()?;
        let own =
            CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        unshare(own).context("making namespaces (the fault suite must be started as root)")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        Ok(Inside { init: None, suite, program })
    }

    fn boot(&mut self) -> Result<u32> {
        self.off();
        // The namespace of the last boot died with its first process.
        setns(&self.suite, CloneFlags::CLONE_NEWPID).context("leaving the last boot")?;
        unshare(CloneFlags::CLONE_NEWPID).context("a process namespace")?;
        let init = Command::new(&self.program).arg("init").stdin(Stdio::piped()).spawn()?;
        let pid = init.id();
        self.init = Some(init);
        Ok(pid)
    }

    fn off(&mut self) {
        let Some(mut init) = self.init.take() else { return };
        let _ = init.kill();
        // It ends last, once the suite has reaped what it started on the machine itself.
        let deadline = std::time::Instant::now() + OFF_MAX;
        while matches!(init.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
