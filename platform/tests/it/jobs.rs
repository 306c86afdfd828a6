//! What is done in the background, with two instances on one Redis and one database, and others who are away now and then.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sinew::job::QueueLook;
use sinew::{Acquire, Jobs, Sinew};
use sinew_platform::events::Workers;
use sinew_platform::remote::{Fortnox, Letter, Mail, NewCustomer, Painter, Remote, RemoteError};
use tokio::sync::Semaphore;

use crate::databases::{on_every_database, postgres_of_its_own};
use crate::fleet::{Client, Fleet, Instance, LONG, Reply, sinew_on};
use crate::world::{redis_cli, start_redis};

const CUSTOMERS: &str = "/api/customers";
const PROJECTS: &str = "/api/generator/projects";
const MONTHLY: &str = "generate-monthly-invoices";

/// Those whom the platform asks. They do as a test says.
struct Others {
    /// What goes wrong next; then all is well.
    troubles: Mutex<VecDeque<RemoteError>>,
    asked: AtomicUsize,
    letters: Mutex<Vec<Letter>>,
    /// Those that Fortnox has made.
    customers: Mutex<Vec<NewCustomer>>,
    /// How many parts may be painted.
    paint: Semaphore,
}

impl Others {
    fn trouble(&self, troubles: impl IntoIterator<Item = RemoteError>) {
        self.troubles.lock().unwrap().extend(troubles);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    fn answer(&self) -> Result<(), RemoteError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.troubles.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Mail for Others {
    async fn send(&self, letter: &Letter) -> Result<(), RemoteError> {
        self.answer()?;
        self.letters.lock().unwrap().push(letter.clone());
        Ok(())
    }
}

#[async_trait]
impl Fortnox for Others {
    /// What goes wrong is its answer: the customer is there.
    async fn create_customer(&self, customer: &NewCustomer) -> Result<i64, RemoteError> {
        let number = {
            let mut made = self.customers.lock().unwrap();
            let known = made.iter().position(|other| other.reference == customer.reference);
            known.unwrap_or_else(|| {
                made.push(customer.clone());
                made.len() - 1
            })
        };
        self.answer()?;
        Ok(i64::try_from(number).unwrap() + 1)
    }
}

#[async_trait]
impl Painter for Others {
    async fn paint(&self, _: &str, part: u64) -> Result<String, RemoteError> {
        self.paint.acquire().await.unwrap().forget();
        self.answer()?;
        Ok(format!("<g id=\"part-{part}\"/>"))
    }
}

fn away() -> RemoteError {
    RemoteError::NotNow("it is away".to_owned())
}

fn busy() -> RemoteError {
    RemoteError::Busy { retry_after: Duration::from_millis(1) }
}

/// A fleet that nobody else's workers work for.
struct World {
    fleet: Fleet,
    sinew: Sinew,
    others: Arc<Others>,
}

impl World {
    async fn open(url: &str) -> Self {
        // Others would publish its rows to where they are.
        let fleet = match url.starts_with("postgres") {
            true => Fleet::open(&postgres_of_its_own().await).await,
            false => Fleet::open(url).await,
        };
        Self::of(fleet).await
    }

    async fn of(fleet: Fleet) -> Self {
        let sinew = sinew_on(fleet.redis_port, &fleet.prefix).await;
        let others = Others {
            troubles: Mutex::default(),
            asked: AtomicUsize::new(0),
            letters: Mutex::default(),
            customers: Mutex::default(),
            paint: Semaphore::new(0),
        };
        Self { fleet, sinew, others: Arc::new(others) }
    }

    async fn workers(&self) -> Workers {
        let others = &self.others;
        let remote =
            Remote { mail: others.clone(), fortnox: others.clone(), painter: others.clone() };
        self.fleet.workers_with(&remote).await
    }

    fn jobs(&self) -> Jobs {
        self.sinew.jobs()
    }

    /// Nothing before it was used.
    async fn look(&self, queue: &str) -> Option<QueueLook> {
        self.jobs().queue(queue).look().await.expect("an answer")
    }

    /// Waits until a queue has had something to do, and has nothing left.
    async fn is_idle(&self, queue: &str) {
        until("all is done", async || {
            let look = self.look(queue).await?;
            (look.waiting + look.scheduled + look.running == 0).then_some(())
        })
        .await;
    }

    async fn post(&self, at: &Instance, path: &str, body: Value) -> Reply {
        at.send(&Client::default(), Method::POST, path, Some(body)).await
    }

    /// Something that a user has used, and an invoice of it.
    async fn invoiced(&self, user: &str, month: &str) {
        let used = json!({"userId": user, "usedOn": format!("{month}-07"), "units": 12});
        let reply = self.post(&self.fleet.first, "/api/billing/usage", used).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.body);
        let run = json!({"month": month});
        let reply = self.post(&self.fleet.first, "/api/billing/runs", run).await;
        assert_eq!((reply.status, &reply.body["written"]), (StatusCode::OK, &json!(1)));
    }

    async fn letters(&self, count: usize) -> Vec<Letter> {
        until("a letter", async || {
            let letters = self.others.letters();
            (letters.len() >= count).then_some(letters)
        })
        .await
    }

    async fn dead(&self, queue: &str, count: u64) {
        until("it is dead", async || {
            let look = self.look(queue).await?;
            (look.dead == count).then_some(())
        })
        .await;
    }

    async fn customer(&self, name: &str) -> String {
        let body = json!({"name": name, "email": "ada@example.com"});
        let reply = self.post(&self.fleet.first, CUSTOMERS, body).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        assert_eq!(reply.body["fortnoxNumber"], Value::Null);
        reply.headers["location"].to_str().unwrap().to_owned()
    }

    /// The number of a customer, once it has one, as the other instance knows it.
    async fn number(&self, path: &str) -> i64 {
        until("its number", async || {
            let reply = self.fleet.second.get(&Client::default(), path).await;
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
            reply.body["fortnoxNumber"].as_i64()
        })
        .await
    }

    /// A project of somebody new, and its path.
    async fn project(&self) -> (Client, String) {
        let (_, client) = self.fleet.client().await;
        let body = json!({"prompt": "a page for a bakery"});
        let made = self.fleet.first.send(&client, Method::POST, PROJECTS, Some(body)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        (client, made.headers["location"].to_str().unwrap().to_owned())
    }

    /// Orders the image of a project, and says where to ask for it.
    async fn order_image(&self, client: &Client, project: &str, is_new: bool) -> String {
        let path = format!("{project}/image");
        let ordered = self.fleet.first.send(client, Method::POST, &path, None).await;
        assert_eq!(ordered.status, StatusCode::ACCEPTED, "{}", ordered.body);
        assert_eq!(ordered.body["isNew"], is_new);
        ordered.headers["location"].to_str().unwrap().to_owned()
    }

    /// Asks the other instance until an image is so far.
    async fn image_is(
        &self,
        client: &Client,
        path: &str,
        so_far: impl Fn(&Value) -> bool,
    ) -> Value {
        until("it is so far", async || {
            let reply = self.fleet.second.get(client, path).await;
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
            so_far(&reply.body).then_some(reply.body)
        })
        .await
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test]
async fn months_are_billed_though_redis_came_back_empty() {
    let server = tokio::task::spawn_blocking(start_redis).await.unwrap();
    let world = World::of(Fleet::open_on("sqlite::memory:", server.port).await).await;
    let workers = world.workers().await;
    let jobs = world.jobs();
    let monthly = jobs.recurring_at(MONTHLY);
    until("it is defined", async || monthly.look().await.unwrap()).await;
    redis_cli(server.port, &["FLUSHALL"]);
    until("it is defined again", async || monthly.look().await.unwrap()).await;
    workers.stop().await;
}

async fn invoices(at: &Instance, user: &str) -> Vec<Value> {
    let path = format!("/api/billing/users/{user}/invoices");
    let reply = at.get(&Client::default(), &path).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    reply.body.as_array().unwrap().clone()
}

on_every_database! {
    async fn an_invoice_is_mailed_once_however_often_that_goes_wrong_before(world: World) {
        let (ada, _) = world.fleet.client().await;
        world.others.trouble([away(), busy()]);
        let (first, second) = (world.workers().await, world.workers().await);
        world.invoiced(&ada.user_id, "2026-10").await;
        let letters = world.letters(1).await;
        assert_eq!((&letters[0].to, letters[0].subject.as_str()), (&ada.email, "Your invoice of 2026-10"));
        assert_eq!(letters[0].text, "12 units, 24 cents");
        world.is_idle("mail").await;
        first.stop().await;
        second.stop().await;
        assert_eq!((world.others.letters().len(), world.others.asked()), (1, 3));
    }

    async fn a_letter_that_is_refused_or_tried_ten_times_is_dead_until_people_try_it_again(world: World) {
        let (ada, _) = world.fleet.client().await;
        world.others.trouble((0..10).map(|_| busy()));
        let workers = world.workers().await;
        world.invoiced(&ada.user_id, "2026-09").await;
        world.dead("mail", 1).await;
        assert_eq!(world.others.asked(), 10);
        world.others.trouble([RemoteError::Refused("no such mailbox".to_owned())]);
        world.invoiced(&ada.user_id, "2026-10").await;
        world.dead("mail", 2).await;
        assert_eq!(world.others.asked(), 11, "what is refused is not tried again");

        let jobs = world.jobs();
        let dead = jobs.queue("mail").dead();
        let troubles: BTreeSet<String> =
            dead.groups().await.unwrap().into_iter().map(|group| group.error).collect();
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(troubles.iter().any(|trouble| trouble.contains("no such mailbox")), "{troubles:?}");
        assert_eq!(dead.retry_all().await.unwrap().retried, 2);
        assert_eq!(world.letters(2).await.len(), 2);
        workers.stop().await;
    }

    async fn an_invoice_is_mailed_again_by_one_job_at_a_time(world: World) {
        let (ada, _) = world.fleet.client().await;
        let workers = world.workers().await;
        world.invoiced(&ada.user_id, "2026-10").await;
        world.letters(1).await;
        world.is_idle("mail").await;
        workers.stop().await;

        let id = invoices(&world.fleet.first, &ada.user_id).await[0]["id"].clone();
        let path = format!("/api/billing/invoices/{id}/mail");
        let first = world.post(&world.fleet.first, &path, json!({})).await;
        assert_eq!((first.status, &first.body["isNew"]), (StatusCode::ACCEPTED, &json!(true)));
        let second = world.post(&world.fleet.second, &path, json!({})).await;
        assert_eq!(second.body, json!({"jobId": first.body["jobId"], "isNew": false}));
        let stranger = world.fleet.first.of_tenant("stranger");
        assert_eq!(world.post(&stranger, &path, json!({})).await.status, StatusCode::NOT_FOUND);

        let workers = world.workers().await;
        let letters = world.letters(2).await;
        world.is_idle("mail").await;
        workers.stop().await;
        assert_eq!(world.others.letters().len(), 2);
        assert_ne!(letters[0].id, letters[1].id, "it is another letter");
    }

    async fn each_month_all_tenants_get_their_invoices_once(world: World) {
        let workers = world.workers().await;
        let jobs = world.jobs();
        let monthly = jobs.recurring_at(MONTHLY);
        let defined = until("it is defined", async || monthly.look().await.unwrap()).await;
        assert_eq!(defined.next.len(), 5);
        for tick in defined.next {
            let tick = Timestamp::try_from(tick).unwrap().in_tz("Europe/Berlin").unwrap();
            assert_eq!((tick.day(), tick.hour(), tick.minute()), (1, 0, 0), "{tick}");
        }

        let tenants = [world.fleet.tenant().to_owned(), format!("{}x", world.fleet.tenant())];
        let tenants = tenants.map(|tenant| world.fleet.first.of_tenant(&tenant));
        for at in &tenants {
            for user in ["ada", "grace"] {
                let used = json!({"userId": user, "usedOn": "2020-01-07", "units": 12});
                let reply = world.post(at, "/api/billing/usage", used).await;
                assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.body);
            }
        }
        let now = Timestamp::now().in_tz("Europe/Berlin").unwrap();
        let over = now.date().first_of_month().yesterday().unwrap().strftime("%Y-%m").to_string();
        for _ in 0..2 {
            monthly.fire_now().await.unwrap().expect("it is defined");
            world.is_idle("billing").await;
        }
        world.is_idle("mail").await;
        workers.stop().await;
        for at in &tenants {
            for user in ["ada", "grace"] {
                let invoices = invoices(at, user).await;
                assert_eq!(invoices.len(), 1, "{invoices:?}");
                assert_eq!(invoices[0]["month"], over.as_str());
            }
        }
        assert_eq!(world.others.asked(), 0, "who has no account has no address");
    }

    async fn what_somebody_has_made_of_the_months_stays_so(world: World) {
        let workers = world.workers().await;
        let jobs = world.jobs();
        let monthly = jobs.recurring_at(MONTHLY);
        until("it is defined", async || monthly.look().await.unwrap()).await;
        workers.stop().await;
        let changed = jobs.recurring(MONTHLY).cron("0 6 2 * *").priority(7);
        changed.job_raw("billing", "billing.month", "{}").upsert().await.unwrap();
        assert!(monthly.pause().await.unwrap());
        let revision = monthly.look().await.unwrap().expect("it is defined").revision;
        let workers = world.workers().await;
        // Its queue has a lane once it was looked for.
        until("there is a worker", async || {
            let lanes = jobs.queue("billing").lanes().await.unwrap();
            (!lanes.is_empty()).then_some(())
        })
        .await;
        let known = monthly.look().await.unwrap().expect("it is defined");
        assert_eq!((known.is_paused, known.priority, known.revision), (true, Some(7), revision));
        workers.stop().await;
    }

    async fn a_customer_gets_into_fortnox_once_although_its_answers_are_lost(world: World) {
        world.others.trouble([away(), busy()]);
        let list = world.fleet.second.get(&Client::default(), CUSTOMERS).await;
        assert_eq!((list.headers["x-cache"].to_str().unwrap(), &list.body), ("miss", &json!([])));
        let mut paths = Vec::new();
        for name in ["Ada", "Grace", "Alan"] {
            paths.push(world.customer(name).await);
        }
        let (first, second) = (world.workers().await, world.workers().await);
        let mut numbers = BTreeSet::new();
        for path in &paths {
            numbers.insert(world.number(path).await);
        }
        assert_eq!(numbers, BTreeSet::from([1, 2, 3]));
        world.is_idle("customers").await;
        first.stop().await;
        second.stop().await;
        assert_eq!((world.others.customers.lock().unwrap().len(), world.others.asked()), (3, 5));
        // The list, too, is fresh at whoever had another one.
        until("the list has all numbers", async || {
            let list = world.fleet.second.get(&Client::default(), CUSTOMERS).await;
            let all = list.body.as_array().unwrap().clone();
            let has_all = all.iter().all(|one| one["fortnoxNumber"].is_i64());
            (all.len() == 3 && has_all).then_some(())
        })
        .await;
        let stranger = world.fleet.first.of_tenant("stranger");
        let reply = stranger.get(&Client::default(), &paths[0]).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{}", reply.body);
    }

    async fn while_someone_else_has_the_lock_a_customer_waits_and_has_not_failed(world: World) {
        let locks = world.sinew.tenant(world.fleet.tenant()).unwrap().locks();
        let lock = locks.lock("job:create-customer").ttl(Duration::from_secs(2));
        let Acquire::Got(guard) = lock.acquire().await.unwrap() else { panic!("it is free") };
        let path = world.customer("Ada").await;
        let workers = world.workers().await;
        until("it is put off", async || {
            let look = world.look("customers").await?;
            (look.scheduled == 1).then_some(())
        })
        .await;
        assert_eq!(world.others.asked(), 0);
        guard.release().await.unwrap();
        assert_eq!(world.number(&path).await, 1);
        workers.stop().await;
        assert_eq!(world.others.asked(), 1);
    }

    async fn a_customer_that_fortnox_refuses_is_dead_and_the_next_one_goes_on(world: World) {
        world.others.trouble([RemoteError::Refused("not a name".to_owned())]);
        let workers = world.workers().await;
        world.customer("?").await;
        world.dead("customers", 1).await;
        let path = world.customer("Ada").await;
        assert_eq!(world.number(&path).await, 2);
        workers.stop().await;
    }

    async fn a_customer_that_cannot_be_is_told_what_was_expected(world: World) {
        for (body, told) in [
            (json!({"name": " ", "email": "ada@example.com"}), "1 to 200 characters"),
            (json!({"name": "Ada", "email": "ada"}), "like ada@example.com"),
            (json!({"name": "Ada"}), "email"),
        ] {
            let reply = world.post(&world.fleet.first, CUSTOMERS, body).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.body);
            let detail = reply.body["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{detail}");
        }
    }

    async fn an_image_tells_how_far_it_is_and_is_there_once(world: World) {
        let (client, project) = world.project().await;
        let job = world.order_image(&client, &project, true).await;
        assert_eq!(world.order_image(&client, &project, false).await, job, "it is the same one");
        let waiting = world.image_is(&client, &job, |_| true).await;
        assert_eq!((&waiting["state"], &waiting["progress"]), (&json!("waiting"), &Value::Null));

        let workers = world.workers().await;
        for parts in [0, 2] {
            world.others.paint.add_permits(parts);
            let running = world.image_is(&client, &job, |image| {
                image["progress"]["done"] == parts && image["progress"]["total"] == 4
            });
            assert_eq!(running.await["state"], "running");
        }
        world.others.paint.add_permits(2);
        let done = world.image_is(&client, &job, |image| image["state"] == "done").await;
        let path = format!("{project}/image");
        assert_eq!(done["image"], path.as_str());
        let image = world.fleet.second.get(&client, &path).await;
        assert_eq!(image.headers["content-type"], "image/svg+xml");
        assert!((0..4).all(|n| image.text.contains(&format!("part-{n}"))), "{}", image.text);
        let again = world.fleet.first.send(&client, Method::POST, &path, None).await;
        assert_eq!((again.status, again.body), (StatusCode::OK, json!({"image": path})));
        // One for the page, and one for its image.
        let streams = world.sinew.streams();
        until("both are told", async || {
            let events = streams.events("images", None, 10).await.unwrap();
            (events.len() == 2).then_some(())
        })
        .await;
        workers.stop().await;
    }

    async fn an_image_whose_painter_went_away_is_begun_anew(world: World) {
        let (client, project) = world.project().await;
        let workers = world.workers().await;
        world.others.trouble([away()]);
        world.others.paint.add_permits(5);
        let job = world.order_image(&client, &project, true).await;
        let done = world.image_is(&client, &job, |image| image["state"] == "done").await;
        assert_eq!((&done["failures"], world.others.asked()), (&json!(1), 5));
        workers.stop().await;
    }

    async fn an_image_is_its_users_alone(world: World) {
        let (client, project) = world.project().await;
        let (_, stranger) = world.fleet.client().await;
        let job = world.order_image(&client, &project, true).await;
        let image = format!("{project}/image");
        assert_eq!(world.fleet.first.get(&client, &image).await.status, StatusCode::NOT_FOUND);
        for path in [&job, &image] {
            let reply = world.fleet.second.get(&stranger, path).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{}", reply.body);
        }
        let ordered = world.fleet.first.send(&stranger, Method::POST, &image, None).await;
        assert_eq!(ordered.status, StatusCode::NOT_FOUND, "{}", ordered.body);
        for (id, status) in [
            ("01KAPX2V9QJ7M3B0N8R5T4W6YZ", StatusCode::NOT_FOUND),
            ("seven", StatusCode::BAD_REQUEST),
        ] {
            let path = format!("/api/generator/images/{id}");
            assert_eq!(world.fleet.first.get(&client, &path).await.status, status);
        }
    }
}
